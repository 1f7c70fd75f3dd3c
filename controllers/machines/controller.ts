/**
 * Says in the status of each UpdateGroup which machines without our agent hold its slots, and does what a person says
 * of one: frees its slot, takes one for it, or lets it try again what failed. Observes UpdateGroups and etcd; writes
 * `UpdateGroup.status.machines`, and takes the person's annotation away when it is done.
 */
import {
  LOCK_MACHINE_ANNOTATION,
  RETRY_MACHINE_ANNOTATION,
  STEAL_MACHINE_ANNOTATION,
} from "../../api/labels.ts";
import { LONGEST_REASON } from "../../api/machines.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import type { Coordination, FleetSnapshot, Leadership } from "../../coordination/coordination.ts";
import { uidOf } from "../../coordination/identity.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { World } from "../world.ts";
import type { Identities } from "./identities.ts";
import { machinesStatus, type Steal, stealOf, wordOf } from "./policy.ts";

const FIELD_MANAGER = "slipway-machines";

export interface MachinesDeps {
  client: Pick<KubeClient, "apply" | "patch">;
  coordination: Pick<Coordination, "free" | "append" | "identify" | "takeForeign" | "forgiveMachine">;
  identities: Pick<Identities, "tend">;
  leader: () => Leadership;
  clock: Clock;
  random: Pick<Random, "uuid">;
  log: Logger;
}

export class MachinesController {
  readonly #deps: MachinesDeps;
  #busy = false;

  constructor(deps: MachinesDeps) {
    this.#deps = deps;
  }

  /** One round on what was read together; nothing while another is at work. Never rejects: what fails is tried in the next. */
  async tend(world: Pick<World, "groups" | "nodes" | "nodeUpdates">, fleet: FleetSnapshot): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    const { identities, log } = this.#deps;
    try {
      await identities
        .tend(world, fleet)
        .catch((error: unknown) => log.error("can't say whose ids are whose, trying again", error));
      for (const group of world.groups) await this.#group(group, fleet);
    } finally {
      this.#busy = false;
    }
  }

  async #group(group: UpdateGroup, fleet: FleetSnapshot): Promise<void> {
    const { log } = this.#deps;
    const { name } = group.metadata;
    try {
      const steal = stealOf(group, fleet);
      if (steal !== undefined) await this.#steal(group, steal);
      await this.#lock(group);
      await this.#retry(group);
      await this.#tell(group, fleet);
    } catch (error) {
      log.error("can't look after machines without our agent, trying again", error, { group: name });
    }
  }

  /** What a person locks holds a slot as one that locksmithctl locked. While there is no room the word stands. */
  async #lock(group: UpdateGroup): Promise<void> {
    const word = wordOf(group, LOCK_MACHINE_ANNOTATION);
    if (word === undefined) return;
    const { coordination, random, log } = this.#deps;
    const { machine, reason } = word;
    const { name } = group.metadata;
    const { uid, name: known, node } = await coordination.identify(machine);
    // As a machine it would have a place in the group's budgets alone, and not in the Node's own (rule 1).
    if (node !== undefined) {
      log.info("a person takes a slot for a machine that is a Node: hold the Node in place of it", {
        machine,
        group: name,
        node: known,
      });
      return;
    }
    const ask = { uid, name: machine, group: name, protocol: "Locksmith", nonce: random.uuid() } as const;
    const kept = reason.slice(0, LONGEST_REASON);
    const result = await coordination.takeForeign({ ...ask, reason: kept });
    if (result.outcome === "refused") {
      log.info("a slot that a person takes for a machine has to wait", {
        machine,
        group: name,
        ...result.why,
      });
      return;
    }
    await this.#journal(group, uid, machine, "Locked", `A person takes a slot for it: ${reason}.`);
    await this.#done(group, LOCK_MACHINE_ANNOTATION);
  }

  async #retry(group: UpdateGroup): Promise<void> {
    const word = wordOf(group, RETRY_MACHINE_ANNOTATION);
    if (word === undefined) return;
    const { coordination, log } = this.#deps;
    const { machine, reason } = word;
    const uid = uidOf(machine);
    await this.#journal(group, uid, machine, "Retried", `A person lets it try again what failed: ${reason}.`);
    const forgiven = await coordination.forgiveMachine(uid);
    log.info("a person lets a machine try again what failed on it", {
      machine,
      group: group.metadata.name,
      forgiven,
    });
    await this.#done(group, RETRY_MACHINE_ANNOTATION);
  }

  /** The journal says it first: nothing is done unseen. */
  async #journal(
    { metadata }: UpdateGroup,
    uid: string,
    node: string,
    reason: string,
    message: string,
  ): Promise<void> {
    const { coordination, clock } = this.#deps;
    const about = { uid, node, group: metadata.name, what: "machine" };
    await coordination.append({ at: clock.now(), ...about, reason, message });
  }

  /** Takes a person's word away, unless it is another one by now. */
  async #done({ metadata }: UpdateGroup, annotation: string): Promise<void> {
    const path = `/metadata/annotations/${annotation.replaceAll("/", "~1")}`;
    const value = metadata.annotations?.[annotation];
    await this.#deps.client.patch(
      updateGroup,
      { name: metadata.name },
      {
        type: "json",
        body: [
          { op: "test", path, value },
          { op: "remove", path },
        ],
      },
    );
  }

  async #tell(group: UpdateGroup, fleet: FleetSnapshot): Promise<void> {
    const machines = machinesStatus(group, fleet);
    const { apiVersion, kind, metadata, status } = group;
    if (machines === undefined || sameJson(machines, status?.machines)) return;
    const { name, uid } = metadata;
    await this.#deps.client.apply(
      updateGroup,
      { apiVersion, kind, metadata: { name, ...(uid === undefined ? {} : { uid }) }, status: { machines } },
      { fieldManager: FIELD_MANAGER, force: true, subresource: "status" },
    );
  }

  async #steal(group: UpdateGroup, { machine, reason, live }: Steal): Promise<void> {
    const { coordination, leader, log } = this.#deps;
    const about = { machine, group: group.metadata.name };
    if (live === undefined) {
      log.info("a machine whose slot was to be freed holds none", about);
    } else {
      const { uid, node } = live.grant;
      await this.#journal(group, uid, node, "Stolen", `A person frees the slot: ${reason}.`);
      await coordination.free(leader(), uid, live.token, "Stolen");
      log.info("freed the slot of a machine because a person said so", { ...about, reason });
    }
    await this.#done(group, STEAL_MACHINE_ANNOTATION);
  }
}
