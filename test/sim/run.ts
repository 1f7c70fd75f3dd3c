/**
 * Runs one schedule: everything that can run does, then time jumps to the next timer.
 * The run is a function of the seed and nothing else.
 */
import { createHash } from "node:crypto";
import { jsonLogger } from "../../ports/log.ts";
import { type FaultPlan, Faults } from "./faults.ts";
import { Invariants } from "./invariants.ts";
import { SeededRandom } from "./random.ts";
import { type Plants, type Settings, type Witness, World } from "./world.ts";

export interface ScheduleOptions {
  settings?: Partial<Settings>;
  plan?: Partial<FaultPlan>;
  plants?: Plants;
  /** Called once everything is made: for a fault at a moment that a test chooses. */
  meddle?: (world: World, rules: Invariants) => void;
  /** Gets each line of the trace. */
  trace?: (line: string) => void;
  /** Also what the processes log. */
  logs?: boolean;
}

export interface ScheduleResult {
  seed: number;
  /** Timers that ran. */
  steps: number;
  /** Simulated ms. */
  time: number;
  /** Lines of the trace. */
  events: number;
  /** SHA-256 of the trace. */
  hash: string;
  faults: number;
  /** Boots under a commit that came back good on the target. */
  updates: number;
}

const MINUTE = 60_000;
/** From the end of the faults until the world must be at rest; where windows bind, only some minutes of each hour count. */
const REST_WITHIN = 45 * MINUTE;
const REST_WITHIN_WINDOWS = 150 * MINUTE;
/** It must stay so for this long. */
const RESTS_FOR = 15_000;

/** Lets everything that can run do so: no real I/O is ever under way. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Throws `Violation`. */
export async function runSchedule(seed: number, options: ScheduleOptions = {}): Promise<ScheduleResult> {
  const random = new SeededRandom(seed ^ 0x5eed);
  const hash = createHash("sha256");
  const count = { events: 0, faults: 0, steps: 0, updates: 0 };
  const trace = (line: string): void => {
    const text = `${(world.sim.time / 1000).toFixed(3)} ${line}`;
    count.events += 1;
    hash.update(text);
    options.trace?.(text);
  };
  const clock = { now: () => world.sim.wall, monotonic: () => world.sim.time, after: () => () => {} };
  const log =
    options.logs === true ? jsonLogger(clock, (line) => options.trace?.(line.trimEnd())) : undefined;
  const world: World = new World(seed, {
    ...(options.settings === undefined ? {} : { settings: options.settings }),
    ...(options.plants === undefined ? {} : { plants: options.plants }),
    ...(log === undefined ? {} : { log }),
  });
  const built = world.build();
  const run = async (done: () => boolean): Promise<void> => {
    while (!done()) {
      await settle();
      if (broken.length > 0) throw broken[0];
      if (world.sim.next() === undefined) throw new Error("nothing is left to do");
      world.sim.step();
      invariants?.step();
      count.steps += 1;
    }
  };
  /** Violations are thrown where the event happens, in the midst of somebody else's call. */
  const broken: unknown[] = [];
  let invariants: Invariants | undefined;
  let ready = false;
  await run(() => {
    if (!ready) void built.then(() => (ready = true));
    return world.machines.length >= world.settings.nodes + world.settings.plain && ready;
  });
  const rules = new Invariants(world);
  invariants = rules;
  world.witness = tracing(rules, trace, broken);
  options.meddle?.(world, rules);
  rules.truth.noteLimits();
  const plan: FaultPlan = {
    length: (4 + random.below(5)) * MINUTE,
    every: 8_000 + random.below(40_000),
    ...options.plan,
  };
  const faults = new Faults(world, rules, (what) => {
    count.faults += 1;
    trace(what);
  });
  faults.start(plan);
  await run(() => world.sim.time >= plan.length);
  const patience = world.settings.windows ? REST_WITHIN_WINDOWS : REST_WITHIN;
  let restedSince: number | undefined;
  await run(() => {
    if (rules.unrest() !== undefined) restedSince = undefined;
    else restedSince ??= world.sim.time;
    if (restedSince !== undefined && world.sim.time - restedSince >= RESTS_FOR) return true;
    return world.sim.time >= plan.length + patience;
  });
  rules.rest();
  for (const truth of rules.truth.machines.values())
    count.updates += truth.attempts.filter(({ ended }) => ended === "good").length;
  return { seed, time: world.sim.time, hash: hash.digest("hex"), ...count };
}

/** `rules` with a line for each event; what it throws is kept. */
function tracing(rules: Witness, trace: (line: string) => void, broken: unknown[]): Witness {
  const guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      broken.push(error);
    }
  };
  return {
    machine(machine, event) {
      trace(`${machine.name} ${Object.values(event).join(" ")}`);
      guard(() => rules.machine(machine, event));
    },
    api(change) {
      const { plural, before, after, by } = change;
      const { name = "" } = (after ?? before)?.metadata ?? {};
      const { step, reason, message } = (after?.status ?? {}) as Record<string, string | undefined>;
      const said = [after?.metadata.resourceVersion ?? "gone", step, reason, message].filter(
        (word) => word !== undefined,
      );
      if (plural !== "leases") trace(`${by} ${plural}/${name} ${said.join(" ")}`);
      guard(() => rules.api(change));
    },
    etcd(changed, by) {
      trace(`${by ?? "a lease ended"} ${changed.join(" ")}`);
      guard(() => rules.etcd(changed, by));
    },
  };
}
