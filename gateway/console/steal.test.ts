import { expect, test } from "vitest";
import { STEAL_MACHINE_ANNOTATION } from "../../api/labels.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { silentLogger } from "../../ports/log.ts";
import type { EdgeRequest } from "../edge/server.ts";
import { FakeClock } from "../fake-clock.ts";
import { ForeignMachines } from "./foreign.ts";
import { WriteHandlers } from "./writes.ts";

const machine: ForeignMachine = {
  ...{ id: "9f3c", group: "edge", product: "p", version: "1.0.0", track: "", board: "", oem: "" },
  ...{ alias: "rack-7", bootId: "", firstSeen: 0, lastSeen: 0, failed: [] },
};

/** What is written where the slot of `machine` is freed, of which its holder is known as `node`. */
async function steal(node: string): Promise<unknown> {
  const foreign = new ForeignMachines({
    get: (uid) => (uid === "u" ? machine : undefined),
    counts: new Map(),
    [Symbol.iterator]: () => new Map([["u", machine]]).entries(),
  });
  const grant = {
    ...{ uid: "u", node, group: "shore", release: "", budgets: [], nonce: "n", epoch: 1, incarnation: "i" },
    ...{ at: 0, target: null, policy: {}, bootNeeds: 0, supersedes: null, reason: "" },
    foreign: { protocol: "Omaha" as const },
  };
  const token = { incarnation: "i", revision: 1 };
  foreign.setGrants(new Map([["u", { grant, token, phase: { phase: "Committed", at: 0 } }]]));
  const written: unknown[] = [];
  const groups = { get: (name: string) => ({ kind: "UpdateGroup", metadata: { name } }) };
  const { handlers } = new WriteHandlers({
    ...{ foreign, objects: { groups } as never, board: { updateOf: () => undefined } as never },
    writer: {
      annotate: async (_: unknown, __: unknown, name: string, words: unknown) => written.push([name, words]),
    } as never,
    ...{ assigner: {} as never, coordination: { append: async () => {} }, demandFresh: () => {} },
    ...{ clock: new FakeClock(), log: silentLogger },
  });
  await handlers.steal({
    ...{ request: {} as EdgeRequest, part: () => "u", query: {}, body: { reason: "it burnt" } },
    caller: { person: { username: "alice", groups: [] }, expiresAt: undefined },
  });
  return written;
}

test("the slot that is freed is the machine's own, whatever it calls itself", async () => {
  expect(await steal("9f3c")).toEqual([
    ["shore", { [STEAL_MACHINE_ANNOTATION]: "9f3c: it burnt (by alice)" }],
  ]);
  expect(await steal("rack-7: not me")).toEqual([
    ["shore", { [STEAL_MACHINE_ANNOTATION]: '"rack-7: not me": it burnt (by alice)' }],
  ]);
});
