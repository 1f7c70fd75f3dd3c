import { expect, test } from "vitest";
import { node, nodeUpdate, observed } from "../fixtures.ts";
import { describe } from "./status.ts";

test("the board shows both slots in a word", () => {
  const seen = observed("1.1.0", undefined);
  const slot = { $typeName: "slipway.agent.v1.Slot" as const, rootHash: "", tries: 0 };
  seen.slots = [
    { ...slot, name: "A", version: "1.1.0", priority: 2, successful: true, running: true },
    { ...slot, name: "B", version: "1.2.0", priority: 1, tries: 1, successful: false, running: false },
  ];
  expect(describe(nodeUpdate("a", "pool", "os-1.1.0"), node("a"), seen, true)).toMatchObject({
    slotA: "1.1.0* P2 good",
    slotB: "1.2.0 P1 1 try",
  });
});
