import { expect, test } from "vitest";
import { addLabel, machineId } from "./join-token.ts";

test.each([
  ["zone=a", { zone: "a" }],
  ["topology.kubernetes.io/zone=eu-1a", { "topology.kubernetes.io/zone": "eu-1a" }],
  ["empty=", { empty: "" }],
])("%s", (text, labels) => {
  expect(addLabel(text)).toEqual(labels);
});

test("labels add up; the last of a name counts", () => {
  expect(addLabel("a=2", addLabel("b=1", addLabel("a=1")))).toEqual({ a: "2", b: "1" });
});

test.each(["", "zone", "=a", "a=b c", "-a=b", `a=${"x".repeat(64)}`])("%j is no label", (text) => {
  expect(() => addLabel(text)).toThrow("KEY=VALUE expected");
});

test("a machine is named by its machine id only", () => {
  expect(machineId("0123456789abcdef0123456789abcdef")).toBe("0123456789abcdef0123456789abcdef");
  for (const text of ["", "machine-0123456789ab", "0f3c9e6e-3a4b-4b57-9a39-a0a5b2f5f6d1"]) {
    expect(() => machineId(text)).toThrow("32 lowercase hexadecimal");
  }
});
