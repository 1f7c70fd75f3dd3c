import { expect, test } from "vitest";
import { addLabel } from "./join-token.ts";

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
