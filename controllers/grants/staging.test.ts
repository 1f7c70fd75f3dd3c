import { expect, test } from "vitest";
import type { Clock } from "../../ports/clock.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import { fleet, group, NOW, node, nodeUpdate, observed, release } from "../fixtures.ts";
import type { World } from "../world.ts";
import { Planner } from "./planner.ts";

const MINUTE = 60_000;
const NAMES = ["a", "b", "c"];

const world: World = {
  groups: [group("pool", { channel: "stable", transfer: { rateLimit: 0, concurrency: 1 } })],
  budgets: [],
  windows: [],
  releases: [release("1.0.0"), release("1.1.0")],
  nodes: NAMES.map((name) => node(name)),
  nodeUpdates: NAMES.map((name) => nodeUpdate(name, "pool", "os-1.1.0")),
};

/** Plans of a group in which one node may stage at once, and what its agents say. */
class Yard {
  readonly seen = new Map<string, Observed>(NAMES.map((name) => [name, observed("1.0.0", undefined)]));
  readonly present = new Set(NAMES);
  #time = 0;
  readonly #planner: Planner;

  constructor() {
    const clock: Clock = { now: () => NOW, monotonic: () => this.#time, after: () => () => {} };
    this.#planner = new Planner(clock);
  }

  says(name: string, step: "Idle" | "Fetching" | "Verifying" | "Staged", percent = 0): void {
    const report = observed("1.0.0", step === "Staged" ? "1.1.0" : undefined);
    report.step = step;
    report.doneBytes = BigInt(percent);
    report.totalBytes = step === "Idle" ? 0n : 100n;
    this.seen.set(name, report);
  }

  /** Who may stage and has not staged, after `minutes` in which a plan was made each of them. */
  after(minutes: number): string[] {
    const uid = (name: string): string => `uid-${name}`;
    const etcd = fleet(NAMES.map(uid), {
      observed: new Map([...this.seen].map(([name, report]) => [uid(name), report])),
      present: new Set([...this.present].map(uid)),
    });
    for (let minute = 0; minute <= minutes; minute++) {
      if (minute > 0) this.#time += MINUTE;
      this.#planner.make(world, etcd, this.#time, NOW);
    }
    return NAMES.filter(
      (name) => this.#planner.mayStage(uid(name)) && this.seen.get(name)?.step !== "Staged",
    );
  }
}

test("a node that is at it keeps its place, and the next one gets it when the image is staged", () => {
  const yard = new Yard();
  yard.says("b", "Fetching", 10);
  expect(yard.after(5)).toEqual(["b"]);
  yard.says("b", "Verifying", 10);
  expect(yard.after(5)).toEqual(["b"]);
  yard.says("b", "Staged");
  expect(yard.after(0)).toEqual(["a"]);
});

test("a node that lost power while it fetched gives its place up at once", () => {
  const yard = new Yard();
  yard.says("b", "Fetching", 10);
  expect(yard.after(0)).toEqual(["b"]);
  yard.present.delete("b");
  expect(yard.after(0)).toEqual(["a"]);
});

test("a place is given up after ten minutes without progress, and comes round to all", () => {
  const yard = new Yard();
  yard.says("b", "Fetching", 10);
  expect(yard.after(9)).toEqual(["b"]);
  yard.says("b", "Fetching", 11);
  expect(yard.after(9)).toEqual(["b"]);
  // It says so for ever.
  expect(yard.after(1)).toEqual(["a"]);
  // It never begins: its image can't be fetched, for example.
  expect(yard.after(10)).toEqual(["c"]);
  yard.says("c", "Fetching", 5);
  expect(yard.after(5)).toEqual(["c"]);
  yard.says("c", "Staged");
  expect(yard.after(0)).toEqual(["b"]);
  expect(yard.after(10)).toEqual(["a"]);
  // Now it gets on, and keeps its place.
  for (let percent = 1; percent < 60; percent++) {
    yard.says("a", "Fetching", percent);
    expect(yard.after(1)).toEqual(["a"]);
  }
});

test("to fetch the same part again and again is no progress", () => {
  const yard = new Yard();
  for (let minute = 0; minute < 10; minute++) {
    yard.says("a", minute % 2 === 0 ? "Fetching" : "Idle", 40);
    expect(yard.after(1)).toEqual(["a"]);
  }
  yard.says("a", "Fetching", 40);
  expect(yard.after(1)).toEqual(["b"]);
});
