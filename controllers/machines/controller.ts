/**
 * Says in the status of each UpdateGroup which machines without our agent hold its slots, and frees the slot that a
 * person names. Observes UpdateGroups and etcd; writes `UpdateGroup.status.machines`, and takes the person's annotation
 * away when it is done.
 */
import { STEAL_MACHINE_ANNOTATION } from "../../api/labels.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import type { Coordination, FleetSnapshot, Leadership } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { World } from "../world.ts";
import type { Identities } from "./identities.ts";
import { machinesStatus, type Steal, stealOf } from "./policy.ts";

const FIELD_MANAGER = "slipway-machines";

export interface MachinesDeps {
  client: Pick<KubeClient, "apply" | "patch">;
  coordination: Pick<Coordination, "free" | "append">;
  identities: Pick<Identities, "tend">;
  leader: () => Leadership;
  clock: Clock;
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
      await this.#tell(group, fleet);
    } catch (error) {
      log.error("can't look after machines without our agent, trying again", error, { group: name });
    }
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

  /** The journal says so first: no slot is freed unseen. */
  async #steal({ metadata }: UpdateGroup, { machine, reason, live }: Steal): Promise<void> {
    const { coordination, leader, client, clock, log } = this.#deps;
    const group = metadata.name;
    if (live === undefined) {
      log.info("a machine whose slot was to be freed holds none", { machine, group });
    } else {
      const { uid, node } = live.grant;
      const message = `A person frees the slot: ${reason}.`;
      await coordination.append({
        ...{ at: clock.now(), uid, node, group, what: "machine", reason: "Stolen", message },
      });
      await coordination.free(leader(), uid, live.token, "Stolen");
      log.info("freed the slot of a machine because a person said so", { machine, group, reason });
    }
    const path = `/metadata/annotations/${STEAL_MACHINE_ANNOTATION.replaceAll("/", "~1")}`;
    const value = metadata.annotations?.[STEAL_MACHINE_ANNOTATION];
    await client.patch(
      updateGroup,
      { name: group },
      {
        type: "json",
        body: [
          { op: "test", path, value },
          { op: "remove", path },
        ],
      },
    );
  }
}
