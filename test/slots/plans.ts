/** What managers and gateways do in the model of model.ts, drawn by fast-check. For tests. */
import * as fc from "fast-check";
import { zincatiId } from "../../coordination/identity.ts";
import type { Protocol } from "../../coordination/records.ts";

/** A plain machine: it may come by two protocols under two names, and have our agent. */
const PLAIN = "0123456789abcdef0123456789abcdef";
export const UIDS = ["n1", "n2", PLAIN];
/** Machines without our agent; n1 is a Node that asks by two ways, n2 one that came as m1 before anybody knew that. */
export const MACHINES = ["m1", "n1", PLAIN, zincatiId(PLAIN)];
export const ALIASES: Readonly<Record<string, readonly string[]>> = { n2: ["m1"] };
export const BUDGETS = [["group/g"], ["budget/z/a"], ["group/g", "budget/z/a"]];
export const ALL_BUDGETS = ["group/g", "budget/z/a"];
export const RELEASES = ["r1", "r2"];

/** Mostly the newest token. */
const index = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat({ max: 5 }) },
);
const uid = fc.constantFrom(0, 0, 0, 1, 2);
const mostlyFalse = fc.nat({ max: 9 }).map((n) => n === 9);
const mostlyTrue = mostlyFalse.map((b) => !b);

/** What a manager does; numbers pick from what there is. */
const managerAct = fc.oneof(
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lead" as const) }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant("gates" as const),
      paused: mostlyFalse,
      halted: mostlyFalse,
      quarantined: mostlyFalse,
      open: mostlyTrue,
      closesIn: fc.option(fc.nat({ max: 120_000 }), { freq: 2 }),
      max: fc.constantFrom(0, 1, 1, 2),
      unavailable: fc.oneof(
        { weight: 4, arbitrary: fc.subarray(UIDS, { maxLength: 1 }) },
        { weight: 1, arbitrary: fc.constant<string[]>([...UIDS]) },
      ),
      granted: fc.oneof(
        { weight: 9, arbitrary: fc.constant<string[]>([]) },
        { weight: 1, arbitrary: fc.subarray(UIDS, { maxLength: 1 }) },
      ),
      /** Whether machines without our agent are served. */
      machines: mostlyTrue,
      unconfirmed: mostlyFalse,
      validFor: fc.integer({ min: 6_000, max: 30_000 }),
      /** Budgets that are gone. */
      gone: fc.oneof(
        { weight: 15, arbitrary: fc.constant<string[]>([]) },
        { weight: 1, arbitrary: fc.subarray(ALL_BUDGETS, { minLength: 1 }) },
      ),
    }),
  },
  {
    weight: 16,
    arbitrary: fc.record({
      do: fc.constant("take" as const),
      uid,
      budgets: fc.nat({ max: BUDGETS.length - 1 }),
      plain: fc.boolean(),
      /** The Node's own client asked. */
      requested: mostlyFalse,
      needs: fc.constantFrom(1_000, 1_000, 60_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("desire" as const), uid, release: fc.constantFrom(0, 0, 1) }),
  },
  {
    weight: 36,
    arbitrary: fc.record({
      do: fc.constantFrom("drained", "drained", "drained", "drained", "revoke", "release"),
      uid,
      token: index,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("free" as const),
      uid,
      token: index,
      cause: fc.constantFrom("Stolen", "HolderExpired", "NodeGone"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rebuild" as const), keep: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("forgetBudget" as const),
      budget: fc.constantFrom(...ALL_BUDGETS),
    }),
  },
);

const gatewayAct = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("session" as const), uid }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom("commit", "commit", "commit", "return", "return", "withdraw"),
      uid,
      token: index,
      boot: fc.nat({ max: 1 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("ask" as const, "ask" as const, "back" as const),
      protocol: fc.constantFrom<Protocol>("FleetLock", "FleetLock", "Locksmith", "Omaha", "Omaha"),
      machine: fc.constantFrom(0, 1, 2, 2, 3, 3),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("request" as const, "request" as const, "home" as const),
      uid,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("pass" as const), milliseconds: fc.nat({ max: 9_000 }) }),
  },
);

type Value<A> = A extends fc.Arbitrary<infer V> ? V : never;
export type ManagerAct = Value<typeof managerAct>;
export type GatewayAct = Value<typeof gatewayAct>;

export interface Plan {
  seed: number;
  /** Of 100 requests, so many are lost, unanswered or late. */
  faults: number;
  /** A machine that has a slot by Omaha when it begins. */
  updating: number | null;
  /** Two loops of one manager, which share its epoch, and one of another. */
  managers: [ManagerAct[], ManagerAct[], ManagerAct[]];
  gateways: GatewayAct[][];
}

const acts = <T>(act: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.array(act, { minLength: 1, maxLength: 30, size: "max" });

export const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(),
  faults: fc.constantFrom(0, 0, 10, 30),
  updating: fc.oneof(
    { weight: 4, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.nat({ max: MACHINES.length - 1 }) },
  ),
  managers: fc.tuple(acts(managerAct), acts(managerAct), acts(managerAct)),
  gateways: fc.tuple(acts(gatewayAct), acts(gatewayAct)),
});
