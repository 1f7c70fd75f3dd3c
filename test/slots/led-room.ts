/** A room over a simulated etcd that one manager leads, with one node: where most tests begin. For tests. */
import { create } from "@bufbuild/protobuf";
import type { Coordination, Leadership, TakeGrant } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { openGate } from "../../coordination/fixtures.ts";
import type { BudgetGate, GroupGate, Token } from "../../coordination/records.ts";
import { jsonLogger } from "../../ports/log.ts";
import { DesiredSchema } from "../../proto/gen/agent_pb.ts";
import { type ProcessClock, SimClock } from "../sim/clock.ts";
import { type Fate, SimEtcd } from "../sim/etcd.ts";
import { SeededRandom } from "../sim/random.ts";

export const WHY = { reason: "Withdrawn", message: "because" } as const;

/** The record of node `n1`. */
export const desired = create(DesiredSchema, {
  group: "g",
  mayStage: true,
  target: { release: "r1", version: "1.0.0" },
  policy: { driver: "fastpatch", bootDeadlineSeconds: 300 },
});

export function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("it is undefined");
  return value;
}

export function request(change: Partial<TakeGrant> = {}): TakeGrant {
  return {
    uid: "n1",
    node: "node-1",
    group: "g",
    release: "r1",
    budgets: ["group/g", "budget/b/zone=a"],
    desired,
    nonce: "nonce-1",
    needs: 60_000,
    bootNeeds: 30_000,
    reason: "first in line",
    ...change,
  };
}

export class LedRoom {
  readonly sim = new SimClock();
  readonly clock: ProcessClock = this.sim.process();
  readonly etcd = new SimEtcd(this.clock);
  /** What becomes of the next transactions; all goes well where it is empty. */
  fates: Fate[] = [];
  /** Lets the late transactions happen. */
  readonly land: (() => void)[] = [];
  readonly logged: string[] = [];
  readonly port: EtcdPort = this.etcd.connect({
    send: (kind) => (kind === "txn" ? (this.fates.shift() ?? "ok") : "ok"),
    later: () => new Promise((resolve) => this.land.push(resolve)),
  });
  readonly room: Coordination = createCoordination({
    etcd: this.port,
    clock: this.clock,
    random: new SeededRandom(1),
    log: jsonLogger(this.clock, (line) => this.logged.push(line)),
  });
  leader: Leadership = { epoch: 0, incarnation: "" };

  static async create(): Promise<LedRoom> {
    const led = new LedRoom();
    led.leader = must(await led.room.raiseEpoch(await led.room.readEpoch(), true));
    await led.room.putDesired(led.leader, "n1", desired);
    return led;
  }

  /** Of another gateway. */
  another(): Coordination {
    const log = jsonLogger(this.clock, (line) => this.logged.push(line));
    return createCoordination({
      ...{ etcd: this.etcd.connect(), clock: this.clock, random: new SeededRandom(2), log },
    });
  }

  pass(milliseconds: number): void {
    const end = this.sim.time + milliseconds;
    this.sim.at(milliseconds, () => {});
    while ((this.sim.next() ?? end + 1) <= end) this.sim.step();
  }

  /** Open gates of group `g` with room for one, valid for 30 s. */
  gates(group: Partial<GroupGate> = {}, budget: Partial<BudgetGate> = {}) {
    const validUntil = this.clock.now() + 30_000;
    const budgets = ["group/g", "budget/b/zone=a"].map(
      (name): BudgetGate => ({ budget: name, max: 1, unavailable: [], validUntil, ...budget }),
    );
    return { groups: [openGate("g", validUntil, group)], budgets };
  }

  async granted(change: Partial<TakeGrant> = {}): Promise<Token> {
    await this.room.writeGates(this.leader, this.gates());
    const result = await this.room.takeGrant(this.leader, request(change));
    if (result.outcome !== "granted") throw new Error(`refused: ${result.why.message}`);
    return result.token;
  }

  async committed(boot = "b1/0"): Promise<{ token: Token; session: number }> {
    const token = await this.granted();
    const session = await this.room.openSession("n1", "gw", await this.port.leaseOnce(60));
    await this.room.markDrained(this.leader, "n1", token);
    const result = await this.room.commit("n1", session, token, boot);
    if (result.outcome !== "committed") throw new Error(`refused: ${result.why.message}`);
    return { token, session };
  }
}
