/**
 * Managers and gateways that do everything that the Coordination allows, at once, over a
 * simulated etcd whose links lose, delay and reorder. For tests.
 */
import { create } from "@bufbuild/protobuf";
import type { Coordination, Leadership, RebuiltGrant } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import { type EtcdPort, EtcdUnavailable } from "../../coordination/etcd.ts";
import { openGate } from "../../coordination/fixtures.ts";
import type { Token } from "../../coordination/records.ts";
import type { Clock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { DesiredSchema } from "../../proto/gen/agent_pb.ts";
import { SimClock } from "../sim/clock.ts";
import { type Fate, SimEtcd } from "../sim/etcd.ts";
import { SeededRandom } from "../sim/random.ts";
import { SlotInvariants } from "./invariants.ts";
import {
  ALIASES,
  ALL_BUDGETS,
  BUDGETS,
  type GatewayAct,
  MACHINES,
  type ManagerAct,
  type Plan,
  RELEASES,
  UIDS,
} from "./plans.ts";
import { Told } from "./told.ts";

const WHY = { reason: "Withdrawn", message: "for the model" } as const;

/** Lets callers go on one at a time, in an order that the seed decides. */
class Interleaver {
  readonly #random: SeededRandom;
  readonly #waiting: (() => void)[] = [];

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async run(work: Promise<unknown>): Promise<void> {
    let ended = false;
    const end = work.finally(() => {
      ended = true;
    });
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#waiting.length > 0) this.#waiting.splice(this.#random.below(this.#waiting.length), 1)[0]?.();
      else if (ended) break;
    }
    await end;
  }
}

/** Wraps the port of every client: how a bug is planted. */
export type Plant = (port: EtcdPort) => EtcdPort;

class World {
  readonly sim = new SimClock();
  readonly clock: Clock = this.sim.process();
  readonly etcd = new SimEtcd(this.clock);
  readonly invariants = new SlotInvariants(this.etcd);
  readonly random: SeededRandom;
  readonly turns: Interleaver;
  /** Every token that was ever given out, per uid. */
  readonly tokens = new Map<string, Token[]>();
  readonly sessions = new Map<string, number>();
  readonly told = new Told();
  readonly #plan: Plan;
  readonly #plant: Plant;
  quiet = true;

  constructor(plan: Plan, plant: Plant) {
    this.#plan = plan;
    this.#plant = plant;
    this.random = new SeededRandom(plan.seed);
    this.turns = new Interleaver(this.random.fork());
  }

  client(): Coordination & { lease(): Promise<string> } {
    const turn = (): Promise<void> => (this.quiet ? Promise.resolve() : this.turns.turn());
    const port = this.etcd.connect({
      send: async () => {
        await turn();
        return this.#fate();
      },
      receive: turn,
      later: turn,
    });
    const etcd = this.#plant(port);
    const parts = { etcd, clock: this.clock, random: this.random, log: silentLogger };
    return { ...createCoordination(parts), lease: () => etcd.leaseOnce(3600) };
  }

  token(of: string, pick: number): Token | undefined {
    const known = this.tokens.get(of) ?? [];
    return known[known.length - 1 - (pick % Math.max(1, known.length))];
  }

  learn(of: string, token: Token): void {
    this.tokens.set(of, [...(this.tokens.get(of) ?? []), token]);
  }

  pass(milliseconds: number): void {
    const end = this.sim.time + milliseconds;
    this.sim.at(milliseconds, () => {});
    while ((this.sim.next() ?? end + 1) <= end) this.sim.step();
  }

  /** What was done under `token` must have happened to its grant; under a dead one nothing is done. */
  effect(of: string, token: Token, alive: boolean, done: boolean, what: readonly string[]): void {
    if (!done) return;
    const { events, breaches } = this.invariants;
    if (!alive) breaches.push(`${of}: a dead token did ${what.join("/")}`);
    const happened = events.some((e) => e.uid === of && e.grant === token.revision && what.includes(e.what));
    if (!happened) breaches.push(`${of}: ${what.join("/")} was answered and did not happen`);
  }

  #fate(): Fate {
    if (this.quiet || this.random.below(100) >= this.#plan.faults) return "ok";
    return this.random.pick(["lost", "unanswered", "late"] as const);
  }
}

/** Runs the plan and gives what was breached; `happened` gets what happened. */
export async function runPlan(
  plan: Plan,
  plant: Plant = (port) => port,
  happened: Map<string, number> = new Map(),
): Promise<string[]> {
  const world = new World(plan, plant);
  const gateways = plan.gateways.map(() => world.client());
  const first = world.client();
  const leader = await first.raiseEpoch(await first.readEpoch(), true);
  const one: Manager = { coordination: first, leader };
  const other: Manager = { coordination: world.client(), leader: undefined };
  for (const of of UIDS) {
    if (leader !== undefined) await first.putDesired(leader, of, desired(0));
    world.sessions.set(of, (await gateways[0]?.openSession(of, "x", await gateways[0].lease())) ?? 0);
  }
  if (leader !== undefined) await writeGates(world, first, leader, {});
  const [door] = gateways;
  const updating = MACHINES[plan.updating ?? -1];
  if (door !== undefined && updating !== undefined)
    await world.told.speak(world, door, { do: "ask", protocol: "Omaha" }, updating);
  world.quiet = false;
  await world.turns.run(
    Promise.all([
      ...plan.managers.map((list, i) => manage(world, i < 2 ? one : other, list)),
      ...plan.gateways.map((list, i) => serve(world, gateways[i], list)),
    ]),
  );
  for (const { what } of world.invariants.events) happened.set(what, (happened.get(what) ?? 0) + 1);
  return world.invariants.breaches;
}

function desired(release: number) {
  const name = RELEASES[release] ?? "";
  return create(DesiredSchema, { group: "g", mayStage: true, target: { release: name, version: name } });
}

type Gates = Partial<Extract<ManagerAct, { do: "gates" }>>;

function writeGates(world: World, manager: Coordination, leader: Leadership, gates: Gates): Promise<boolean> {
  const now = world.clock.now();
  const validUntil = now + (gates.validFor ?? 30_000);
  const { max = 1, unavailable = [], granted = [], closesIn } = gates;
  return manager.writeGates(leader, {
    groups: [
      openGate("g", validUntil, {
        paused: gates.paused ?? false,
        halted: gates.halted ?? false,
        quarantined: gates.quarantined ? ["r1"] : [],
        open: gates.open ?? true,
        openUntil: closesIn === undefined || closesIn === null ? null : now + closesIn,
        ...(gates.machines === false ? {} : { machines: { budgets: ALL_BUDGETS, needs: 1000, open: true } }),
      }),
    ],
    budgets: ALL_BUDGETS.filter((budget) => gates.gone?.includes(budget) !== true).map((budget) => ({
      budget,
      max,
      unavailable,
      granted,
      ...(gates.unconfirmed === true ? { unconfirmed: "g" } : {}),
      validUntil,
    })),
  });
}

interface Manager {
  readonly coordination: Coordination;
  leader: Leadership | undefined;
}

async function manage(world: World, manager: Manager, list: readonly ManagerAct[]): Promise<void> {
  const { coordination } = manager;
  for (const act of list) {
    try {
      if (act.do === "lead") {
        const leader = await coordination.raiseEpoch(await coordination.readEpoch(), false);
        manager.leader = leader ?? manager.leader;
      } else if (act.do === "rebuild") {
        manager.leader = (await rebuild(world, coordination, act.keep)) ?? manager.leader;
      } else if (manager.leader !== undefined) {
        await lead(world, coordination, manager.leader, act);
      }
    } catch (error) {
      if (!(error instanceof EtcdUnavailable)) throw error;
    }
  }
}

async function rebuild(world: World, manager: Coordination, keep: boolean): Promise<Leadership | undefined> {
  const { epoch, incarnation, grants } = await manager.readFleet();
  // Kubernetes remembers those of the nodes only.
  const nodes = [...grants.values()].filter(({ grant }) => grant.foreign === undefined);
  const rebuilt = nodes.map(({ grant, token, phase }): RebuiltGrant => {
    const { uid: of, node, group, release, budgets, nonce, at } = grant;
    return { uid: of, node, group, release, budgets, nonce, at, phase: phase.phase, supersedes: token };
  });
  const leader = await manager.rebuild({ epoch, incarnation }, keep ? rebuilt : []);
  for (const { token, grant } of (await manager.readFleet()).grants.values())
    if (grant.foreign === undefined) world.learn(grant.uid, token);
  return leader;
}

async function lead(
  world: World,
  manager: Coordination,
  leader: Leadership,
  act: Exclude<ManagerAct, { do: "lead" | "rebuild" }>,
): Promise<void> {
  if (act.do === "gates") {
    await writeGates(world, manager, leader, act);
    return;
  }
  if (act.do === "forgetBudget") {
    await manager.forgetBudget(leader, act.budget);
    return;
  }
  const of = UIDS[act.uid] ?? "";
  if (act.do === "desire") {
    await manager.putDesired(leader, of, desired(act.release));
    return;
  }
  if (act.do === "take") {
    const result = await manager.takeGrant(leader, {
      uid: of,
      node: of,
      group: "g",
      release: "r1",
      budgets: BUDGETS[act.budgets] ?? [],
      desired: desired(0),
      nonce: world.random.uuid(),
      needs: act.needs,
      bootNeeds: act.needs / 2,
      plain: act.plain && !act.requested,
      aliases: ALIASES[of] ?? [],
      ...(act.requested ? { requested: { protocol: "FleetLock", boot: "boot0" } } : {}),
      reason: "picked",
    });
    if (result.outcome === "granted") {
      world.learn(of, result.token);
      world.effect(of, result.token, true, true, ["made"]);
    }
    return;
  }
  const token = world.token(of, act.token);
  if (token === undefined) return;
  const alive = world.invariants.lives(of, token.revision);
  const done = async (what: readonly string[], answer: Promise<"done" | "stale">): Promise<void> =>
    world.effect(of, token, alive, (await answer) === "done", what);
  if (act.do === "drained") await done(["Drained"], manager.markDrained(leader, of, token));
  else if (act.do === "revoke") await done(["Withdrawn"], manager.revoke(leader, of, token, WHY));
  else if (act.do === "release") await done(["ended"], manager.release(leader, of, token));
  else if (act.do === "free") await done(["ended"], manager.free(leader, of, token, act.cause));
}

async function serve(
  world: World,
  gateway: (Coordination & { lease(): Promise<string> }) | undefined,
  list: readonly GatewayAct[],
): Promise<void> {
  if (gateway === undefined) return;
  for (const act of list) {
    try {
      // An agent that has nothing to ask lets the others go on.
      for (let wait = 0; wait < 4; wait++) await world.turns.turn();
      await answer(world, gateway, act);
    } catch (error) {
      if (!(error instanceof EtcdUnavailable)) throw error;
    }
  }
}

/** The client of a Node without an agent: yes only where its grant is committed, or another protocol's. */
async function ownClient(
  world: World,
  gateway: Coordination,
  act: "request" | "home",
  uid: string,
): Promise<void> {
  const { events, breaches } = world.invariants;
  if (act === "home") {
    await gateway.endReboot(uid, "g", "FleetLock");
    return;
  }
  const ask = { uid, name: uid, group: "g", protocol: "FleetLock" } as const;
  const { outcome } = await gateway.requestReboot(ask);
  const went = events.some((e) => e.uid === uid && e.what === "Committed");
  if (outcome !== "refused" && !went) breaches.push(`${uid}: ${outcome} was answered without a commit`);
}

async function answer(
  world: World,
  gateway: Coordination & { lease(): Promise<string> },
  act: GatewayAct,
): Promise<void> {
  if (act.do === "pass") {
    await world.turns.turn();
    world.pass(act.milliseconds);
    return;
  }
  if ("machine" in act) {
    await world.told.speak(world, gateway, act, MACHINES[act.machine] ?? "");
    return;
  }
  const of = UIDS[act.uid] ?? "";
  if (!("token" in act) && act.do !== "session") {
    await ownClient(world, gateway, act.do, of);
    return;
  }
  if (act.do === "session") {
    world.sessions.set(of, await gateway.openSession(of, "x", await gateway.lease()));
    return;
  }
  const token = world.token(of, act.token);
  const session = world.sessions.get(of) ?? 0;
  if (token === undefined) return;
  const { invariants } = world;
  // After a rebuild the agent's token names its successor: withdrawals and returns pass.
  const alive = invariants.lives(of, token.revision) || act.do !== "commit";
  const boot = `boot${act.boot}/0`;
  if (act.do !== "commit") {
    const result =
      act.do === "withdraw"
        ? await gateway.withdraw(of, session, token, WHY)
        : await gateway.reportReturn(of, session, token, boot, "Updated", WHY);
    const successor = invariants.events.some(
      (e) => e.uid === of && e.grant === token.revision && e.what === "ended",
    );
    if (!successor) world.effect(of, token, alive, result === "done", ["Withdrawn", "Returned"]);
    return;
  }
  const sent = world.clock.now();
  const result = await gateway.commit(of, session, token, boot);
  world.effect(of, token, alive, result.outcome === "committed", ["Committed"]);
  if (result.outcome !== "committed") return;
  const { goodForSeconds } = result;
  if (goodForSeconds < 5 || goodForSeconds > 30)
    invariants.breaches.push(`${of}: good for ${goodForSeconds} s`);
  const commits = invariants.events.filter((e) => e.uid === of && e.grant === token.revision && e.until);
  if (!commits.some((e) => sent + goodForSeconds * 1000 <= (e.until ?? 0) + 1)) {
    invariants.breaches.push(`${of}: a commit is good beyond its gates`);
  }
}
