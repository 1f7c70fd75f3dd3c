import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLogger } from "../ports/log.ts";
import type { Fate } from "../test/sim/etcd.ts";
import { SeededRandom } from "../test/sim/random.ts";
import { LedRoom, must } from "../test/slots/led-room.ts";
import { Changes } from "./changes.ts";
import type { Coordination, UpdateAsk, UpdateEnd } from "./coordination.ts";
import { createCoordination } from "./create.ts";
import { type Compare, EtcdUnavailable, type Operation, type Range, type ReadResult } from "./etcd.ts";
import { keys } from "./keys.ts";
import type { ForeignMachine } from "./records.ts";
import { AlwaysRefused, type Step, unchanged } from "./transact.ts";

const RUNS = process.env["LONG"] === "1" ? 20_000 : 300;
const BUDGETS = ["group/g", "budget/b/zone=a"];
const machines = { budgets: BUDGETS, needs: 60_000, open: false };

const machineOf = (id: string): ForeignMachine => ({
  ...{ id, group: "g", product: "p", version: "1", track: "g", board: "", oem: "", alias: "", bootId: "b" },
  ...{ firstSeen: 1, lastSeen: 1, failed: [] },
});
const ask = (uid: string): UpdateAsk => ({
  ...{ uid, name: uid, group: "g", nonce: `nonce-${uid}`, release: "r", version: "2", threshold: 1000 },
  machine: machineOf(uid),
});

async function roomFor(max: number): Promise<LedRoom> {
  const led = await LedRoom.create();
  await led.room.writeGates(led.leader, led.gates({ machines }, { max }));
  return led;
}

/** What reaches etcd, in order. */
function counted(led: LedRoom): string[] {
  const calls: string[] = [];
  const [read, txn] = [led.port.read.bind(led.port), led.port.txn.bind(led.port)];
  led.port.read = (ranges) => (calls.push("read"), read(ranges));
  led.port.txn = (compares, operations) => (calls.push("txn"), txn(compares, operations));
  return calls;
}

describe("what one process changes at a time", () => {
  it("shares one look and one commit, up to etcd's limit, and ends up as one after the other would", async () => {
    const led = await roomFor(20);
    const calls = counted(led);
    const uids = Array.from({ length: 30 }, (_, i) => `m${i}`);
    const told = await Promise.all(uids.map((uid) => led.room.takeUpdate(ask(uid))));
    expect(told.map(({ outcome }) => outcome)).toEqual(uids.map((_, i) => (i < 20 ? "granted" : "refused")));
    expect(calls.filter((call) => call === "txn").length).toBeLessThan(8);
    expect(calls.length).toBeLessThan(20);
    const fleet = await led.room.readFleet();
    for (const budget of BUDGETS) {
      expect([...must(fleet.budgets.get(budget)).holders.keys()].toSorted()).toEqual(
        uids.slice(0, 20).toSorted(),
      );
      expect(fleet.budgets.get(budget)?.seq).toBe(20);
    }
    expect(fleet.tallies.get("g")?.get("r")).toMatchObject({ granted: 20 });
    // The token of each is the revision at which its key came to be.
    for (const uid of uids.slice(0, 20)) {
      const kv = must(led.etcd.records.get(keys.grant(uid)));
      expect(fleet.grants.get(uid)?.token.revision).toBe(kv.createRevision);
    }
  });

  it("counts once what several of them read", async () => {
    const led = await roomFor(40);
    const calls = counted(led);
    await led.room.putForeignMachine("first", machineOf("first"));
    calls.length = 0;
    const uids = Array.from({ length: 16 }, (_, i) => `m${i}`);
    await Promise.all([
      led.room.putForeignMachine("alone", machineOf("alone")),
      ...uids.map((uid) => led.room.takeUpdate(ask(uid))),
    ]);
    // One alone, and then all others: each reads ten keys, of which three are its own.
    expect(calls.filter((call) => call === "txn")).toHaveLength(2);
  });

  it("of one machine comes one after the other, each with a grant of its own", async () => {
    const led = await roomFor(1);
    await led.room.takeUpdate(ask("m"));
    const before = must(led.etcd.records.get(keys.grant("m"))).createRevision;
    const end: UpdateEnd = {
      uid: "m",
      machine: must(await led.room.readForeignMachine("m")),
      how: "good",
      code: 0,
    };
    // Three that come together, after one that goes alone.
    const [, ended, again, other] = await Promise.all([
      led.room.putForeignMachine("first", machineOf("first")),
      led.room.endUpdate(end),
      led.room.takeUpdate({ ...ask("m"), release: "s" }),
      led.room.takeUpdate(ask("n")),
    ]);
    expect(ended).toBeDefined();
    expect([again.outcome, other.outcome].toSorted()).toEqual(["granted", "refused"]);
    const grants = (await led.room.readFleet()).grants;
    expect(grants.size).toBe(1);
    for (const { token } of grants.values()) expect(token.revision).toBeGreaterThan(before);
  });

  /** The first goes alone; the others together, in the second transaction. */
  const afterFirst = async (led: LedRoom, ...uids: string[]) =>
    (await Promise.all(["first", ...uids].map((uid) => led.room.takeUpdate(ask(uid))))).map(
      ({ outcome }) => outcome,
    );

  it.each<[Fate, string, number]>([
    ["unanswered", "held", 4],
    ["lost", "refused", 1],
  ])("is found again where the answer of all was %s", async (fate, outcome, grants) => {
    const led = await roomFor(9);
    led.fates = ["ok", fate];
    expect(await afterFirst(led, "a", "b", "c")).toEqual(["granted", outcome, outcome, outcome]);
    expect((await led.room.readFleet()).grants.size).toBe(grants);
  });

  it("can't land late, once it was answered that nothing was taken", async () => {
    const led = await roomFor(9);
    led.fates = ["ok", "late"];
    expect(await afterFirst(led, "a", "b")).toEqual(["granted", "refused", "refused"]);
    expect(led.land).toHaveLength(1);
    for (const land of led.land) land();
    expect([...(await led.room.readFleet()).grants.keys()]).toEqual(["first"]);
  });

  const write = (key: string, compares: readonly Compare[] = []) => {
    return async (): Promise<Step<string>> => {
      const operations: Operation[] = [{ put: key, value: "1" }];
      return { compares, operations, committed: () => key };
    };
  };

  it("goes on without the one that is always refused", async () => {
    const led = await roomFor(1);
    const changes = new Changes(led.port);
    const never = unchanged("/test/none", {
      key: "",
      value: "",
      createRevision: 9,
      modRevision: 9,
      lease: undefined,
    });
    const all = ["a", "b", "c", "d", "e"].map((key) =>
      changes.change("g", [], write(`/test/${key}`, key === "c" ? [never] : [])),
    );
    const ends = await Promise.allSettled(all);
    expect(ends.map(({ status }) => status === "fulfilled")).toEqual([true, true, false, true, true]);
    await expect(all[2]).rejects.toBeInstanceOf(AlwaysRefused);
  });

  it("goes on without one whose look fails, or that fits no transaction", async () => {
    const led = await roomFor(1);
    const changes = new Changes(led.port);
    const many = Array.from({ length: 129 }, (_, i): Operation => ({ put: `/test/${i}`, value: "" }));
    const ends = await Promise.allSettled([
      changes.change("g", [], write("/test/first")),
      changes.change("g", [], async () => ({ compares: [], operations: many, committed: () => "" })),
      changes.change("g", [], () => Promise.reject(new EtcdUnavailable("it lost who holds a slot"))),
      changes.change("g", [], write("/test/last")),
    ]);
    expect(ends.map((end) => (end.status === "fulfilled" ? end.value : String(end.reason)))).toEqual([
      "/test/first",
      expect.stringContaining("RangeError"),
      expect.stringContaining("it lost"),
      "/test/last",
    ]);
  });

  it("goes on without one that etcd takes for wrong, of which it does not say which it is", async () => {
    const led = await roomFor(1);
    const txn = led.port.txn.bind(led.port);
    led.port.txn = (compares, operations) =>
      operations.some((operation) => "put" in operation && operation.put === "/test/7")
        ? Promise.reject(new TypeError("etcd takes it for wrong"))
        : txn(compares, operations);
    const changes = new Changes(led.port);
    const all = Array.from({ length: 30 }, (_, i) => changes.change("g", [], write(`/test/${i}`)));
    const ends = await Promise.allSettled(all);
    const wrong = ends.flatMap((end, i) => (end.status === "rejected" ? [`${i}: ${end.reason}`] : []));
    expect(wrong).toEqual(["7: TypeError: etcd takes it for wrong"]);
  });

  it("hears at once, all of it, that etcd is away, and goes on when it is back", async () => {
    const led = await roomFor(9);
    let reads = 0;
    const read = led.port.read.bind(led.port);
    led.port.read = () => {
      reads += 1;
      return Promise.reject(new EtcdUnavailable("away"));
    };
    const uids = Array.from({ length: 200 }, (_, i) => `m${i}`);
    const ends = await Promise.allSettled(uids.map((uid) => led.room.takeUpdate(ask(uid))));
    expect(ends.every(({ status }) => status === "rejected")).toBe(true);
    expect(reads).toBeLessThan(4);
    led.port.read = read;
    expect(await led.room.takeUpdate(ask("m"))).toEqual({ outcome: "granted" });
  });
});

interface Turn {
  machine: number;
  gateway: number;
  by: "Omaha" | "FleetLock";
  gives: boolean;
}

interface Plan {
  turns: Turn[];
  fates: Fate[][];
  max: number;
  seed: number;
}

const fates = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constant<Fate>("ok") },
    fc.constantFrom<Fate[]>("lost", "unanswered", "late"),
  ),
  { maxLength: 12 },
);
const plans: fc.Arbitrary<Plan> = fc.record({
  turns: fc.array(
    fc.record({
      machine: fc.nat({ max: 7 }),
      gateway: fc.nat({ max: 1 }),
      by: fc.constantFrom("Omaha" as const, "FleetLock" as const),
      gives: fc.boolean(),
    }),
    { minLength: 2, maxLength: 30 },
  ),
  fates: fc.tuple(fates, fates),
  max: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(),
});

interface Planted {
  forgotten?: (compare: Compare) => boolean;
  /** Who holds a place is read before all else of the same call. */
  torn?: boolean;
}

/** Two gateways with several changes at a time each; what was wrong. */
async function play(plan: Plan, { forgotten = () => false, torn = false }: Planted = {}): Promise<string[]> {
  const led = await roomFor(plan.max);
  const wrong: string[] = [];
  const random = new SeededRandom(plan.seed);
  const land: (() => void)[] = [];
  /** Some turns of the event loop, so that gateways overtake each other. */
  const pause = async (): Promise<void> => {
    for (let turns = Math.floor(random.next() * 4); turns > 0; turns--) await Promise.resolve();
  };
  const gateways = plan.fates.map((left): Coordination => {
    const port = led.etcd.connect({
      send: async (kind) => {
        await pause();
        return kind === "txn" ? (left.shift() ?? "ok") : "ok";
      },
      receive: pause,
      later: () => new Promise((resolve) => land.push(resolve)),
    });
    const [read, txn] = [port.read.bind(port), port.txn.bind(port)];
    const isFirst = (range: Range): boolean => "prefix" in range && range.prefix.startsWith(keys.budgets);
    const tear = async (ranges: readonly Range[]): Promise<ReadResult> => {
      const first = (await read(ranges.filter(isFirst))).results;
      const { revision, results } = await read(ranges.filter((range) => !isFirst(range)));
      return { revision, results: ranges.map((range) => (isFirst(range) ? first : results).shift() ?? []) };
    };
    if (torn) port.read = tear;
    port.txn = (compares, operations) => {
      if (random.next() < 0.3) land.shift()?.();
      return txn(
        compares.filter((compare) => !forgotten(compare)),
        operations,
      );
    };
    return createCoordination({ etcd: port, clock: led.clock, random, log: silentLogger });
  });
  const held = (budget: string): string[] =>
    [...led.etcd.records.keys()].filter((key) => key.startsWith(keys.holders(budget)));
  let grants = 0;
  led.etcd.observe((changed) => {
    for (const key of changed) {
      const kv = led.etcd.records.get(key);
      if (key.startsWith(keys.grants) && kv !== undefined) {
        grants += 1;
        if (kv.createRevision !== kv.modRevision) wrong.push(`${key} was made anew over another`);
      }
    }
    const live = [...led.etcd.records.keys()].filter((key) => key.startsWith(keys.grants)).length;
    for (const budget of BUDGETS) {
      const { length } = held(budget);
      if (length > plan.max) wrong.push(`${length} hold a place in ${budget}, of ${plan.max}`);
      if (length !== live) wrong.push(`${live} grants have ${length} places in ${budget}`);
    }
  });
  await Promise.all(
    plan.turns.map(async ({ machine, gateway, by, gives }) => {
      const room = must(gateways[gateway]);
      const uid = `m${machine}`;
      const mark = grants;
      const had = led.etcd.records.has(keys.grant(uid));
      try {
        const told =
          by === "Omaha"
            ? await room.takeUpdate(ask(uid))
            : await room.takeForeign({ uid, name: uid, group: "g", protocol: by, nonce: "n" });
        if (told.outcome === "refused") return;
        if (!had && grants === mark) wrong.push(`${uid} was told ${told.outcome} without a grant`);
        if (!gives) return;
        if (by === "FleetLock") await room.freeForeign(uid, "g", by);
        else {
          const updating = await room.readForeignMachine(uid);
          if (updating !== undefined) await room.endUpdate({ uid, machine: updating, how: "good", code: 0 });
        }
      } catch (error) {
        if (!(error instanceof EtcdUnavailable)) throw error;
      }
    }),
  );
  for (const each of land) each();
  await new Promise((resolve) => setImmediate(resolve));
  return wrong;
}

describe("two gateways, with several changes at a time each", () => {
  it("never overrun a budget, and hold one place in each for each grant", async () => {
    await fc.assert(
      fc.asyncProperty(plans, async (plan) => {
        expect(await play(plan)).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  });

  // A grant that is forgotten shows in none of these: whoever makes or ends one changes its budgets' counts.
  it.each<[string, Planted]>([
    [
      "to forget the compare of the budgets' counts",
      { forgotten: ({ key }) => key.startsWith(keys.budgets) },
    ],
    ["to read holders that are older than the count beside them", { torn: true }],
  ])("are found out %s", async (_, planted) => {
    const result = await fc.check(
      fc.asyncProperty(plans, async (plan) => (await play(plan, planted)).length === 0),
      { numRuns: 3000, seed: 1, endOnFailure: true },
    );
    expect(result.failed).toBe(true);
  });
});
