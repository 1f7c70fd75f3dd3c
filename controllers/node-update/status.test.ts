import { expect, test } from "vitest";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import { NOW, node, nodeUpdate, observed } from "../fixtures.ts";
import { describe, withFailure } from "./status.ts";

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

test("one grant fails once, whatever the clock says, and evicts no other failure", () => {
  const why = { reason: "FellBack", message: "" } as const;
  const target = (version: string) => ({ release: version, version, rootHash: version.repeat(64) });
  let status: NodeUpdateStatus = withFailure({}, "first", target("1"), why, NOW);
  for (let look = 0; look < 25; look++)
    status = withFailure(status, "second", target("2"), why, NOW - look * 2000);
  expect(status.failed?.map(({ grant, time }) => [grant, Date.parse(time)])).toEqual([
    ["second", NOW],
    ["first", NOW],
  ]);
  const late = withFailure(
    status,
    "second",
    target("2"),
    { reason: "HolderExpired", message: "" },
    NOW + 5000,
  );
  expect(late.failed?.map(({ reason, time }) => [reason, Date.parse(time)])).toEqual([
    ["HolderExpired", NOW],
    ["FellBack", NOW],
  ]);
  expect(withFailure(status, "third", target("2"), why, NOW).failed).toHaveLength(3);
});
