/**
 * Removes what machines that are gone left behind: our cordons on Nodes, and their records
 * in etcd. Nothing waits for it, because a gate or a leader must not hang on one Node that
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

/** Cordons, and machines, of one round. */
const ROUND = 20;

export interface HousekeeperDeps {
  client: Pick<KubeClient, "patch">;
  coordination: Pick<Coordination, "forgetNode">;
  leader: () => Leadership;
  clock: Clock;
  log: Logger;
}

export class Housekeeper {
  readonly #deps: HousekeeperDeps;
  #busy = false;
  /** Where the next round begins: cordons that can't be undone must not keep it from the others. */
  #turn = 0;

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
}
