/**
 * Removes what machines and budgets that are gone left behind: our cordons on Nodes, and their
 * records in etcd; and etcd's history, which nothing else bounds. Nothing waits for it, because a gate or a leader must not hang on one Node that
 * can't be patched; what fails is tried again in a later round.
 */
import type { Coordination, FleetSnapshot, Leadership } from "../coordination/coordination.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { KubeClient } from "../runtime/client.ts";
import { NODES } from "../runtime/core.ts";
import { orphanedCordons } from "./node-update/orphans.ts";
import { vanished } from "./node-update/vanished.ts";
import type { World } from "./world.ts";

/** Cordons, machines, and budgets, of one round. */
const ROUND = 20;

/** etcd's history goes back so far at least, and at most twice as far, ms. */
const HISTORY = 180_000;

export interface HousekeeperDeps {
  client: Pick<KubeClient, "patch">;
  coordination: Pick<Coordination, "forgetNode" | "forgetBudget" | "compact">;
  leader: () => Leadership;
  clock: Clock;
  log: Logger;
}

export class Housekeeper {
  readonly #deps: HousekeeperDeps;
  #busy = false;
  /** Where the next round begins: cordons that can't be undone must not keep it from the others. */
  #turn = 0;
  /** A revision of etcd, and when it was the newest, monotonic ms. */
  #mark: { revision: number; at: number } | undefined;

  constructor(deps: HousekeeperDeps) {
    this.#deps = deps;
  }

  /** One round on what was read together; nothing while another is at work. Never rejects. */
  async tidy(world: World, fleet: FleetSnapshot): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await this.#uncordon(world, fleet);
      await this.#forget(world, fleet);
      await this.#forgetBudgets(fleet);
      await this.#compact(fleet);
    } finally {
      this.#busy = false;
    }
  }

  async #uncordon(world: World, fleet: FleetSnapshot): Promise<void> {
    const { client, log } = this.#deps;
    const orphans = orphanedCordons(world, fleet);
    const from = orphans.length === 0 ? 0 : this.#turn % orphans.length;
    this.#turn = from + ROUND;
    for (const { name, patch } of [...orphans.slice(from), ...orphans.slice(0, from)].slice(0, ROUND)) {
      log.info("undoing a cordon or taint that no grant stands for", { node: name });
      try {
        await client.patch(NODES, { name }, patch);
      } catch (error) {
        log.error("can't undo a cordon or taint that no grant stands for, trying again", error, {
          node: name,
        });
      }
    }
  }

  async #forget(world: World, fleet: FleetSnapshot): Promise<void> {
    const { coordination, leader, clock, log } = this.#deps;
    for (const uid of vanished(world, fleet, clock.now()).slice(0, ROUND)) {
      try {
        if (await coordination.forgetNode(leader(), uid)) log.info("forgot a machine that is gone", { uid });
      } catch (error) {
        log.error("can't forget a machine that is gone, trying again", error, { uid });
      }
    }
  }

  async #compact({ revision }: FleetSnapshot): Promise<void> {
    const { coordination, leader, clock, log } = this.#deps;
    const at = clock.monotonic();
    const before = this.#mark;
    if (before !== undefined && at - before.at < HISTORY) return;
    this.#mark = { revision, at };
    if (before === undefined) return;
    try {
      await coordination.compact(leader(), before.revision);
    } catch (error) {
      log.error("can't compact etcd's history, trying again in some minutes", error, {
        revision: before.revision,
      });
    }
  }

  /** A budget that is named after a Node or a domain goes with it. */
  async #forgetBudgets({ budgets, budgetGates }: FleetSnapshot): Promise<void> {
    const { coordination, leader, log } = this.#deps;
    // One whose gate is written just now is kept by the transaction.
    const over = [...budgets].filter(([name, { holders }]) => holders.size === 0 && !budgetGates.has(name));
    for (const [budget] of over.slice(0, ROUND)) {
      try {
        await coordination.forgetBudget(leader(), budget);
      } catch (error) {
        log.error("can't forget a budget that is gone, trying again", error, { budget });
      }
    }
  }
}
