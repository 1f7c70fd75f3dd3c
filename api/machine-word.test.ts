import * as fc from "fast-check";
import { expect, test } from "vitest";
import { machineWord, readMachineWord } from "./machine-word.ts";

test("a machine and a reason are read as they were meant, whatever a machine calls itself", () => {
  const hostile = fc.oneof(
    ...[": ", '"', "\\", " ", "a: b", '"a": b', '"a', "\n"].map(fc.constant),
    fc.string({ unit: "binary" }),
  );
  const text = fc.array(hostile, { maxLength: 5 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, text, (machine, reason) => {
      expect(readMachineWord(machineWord(machine, reason))).toEqual({ machine, reason });
    }),
    { numRuns: 2000 },
  );
});

test("names of machines as they are need no quotes", () => {
  for (const machine of ["9f3c", "rack-7", "fd00::7", "{6ba7b810}", "a:b", "a b"])
    expect(machineWord(machine, "it burnt: all of it")).toBe(`${machine}: it burnt: all of it`);
  expect(machineWord("rack-7: not me", "it burnt")).toBe('"rack-7: not me": it burnt');
});

test("what a person writes by hand may lack the reason, and have quotes that are none", () => {
  expect(readMachineWord(" rack-7 ")).toEqual({ machine: "rack-7", reason: "no reason given" });
  expect(readMachineWord('"rack-7: a"')).toEqual({ machine: "rack-7: a", reason: "no reason given" });
  expect(readMachineWord('"rack: it burnt')).toEqual({ machine: '"rack', reason: "it burnt" });
  expect(readMachineWord(String.raw`"\x": b`)).toEqual({ machine: String.raw`"\x"`, reason: "b" });
});
