/**
 * Renews the gates, and right after it the plan, from one consistent read of the API:
 * every 10 s, and soon after a change. Observes UpdateGroups, RebootBudgets,
 * RebootWindows, Releases, Nodes, NodeUpdates and the Pods of gateways and etcd; writes the gates in etcd and
 * `UpdateGroup.status.gate`.
 */

import { channel } from "../../api/channel.ts";
import type { Kind, Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { timestamp } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { rebootBudget } from "../../api/reboot-budget.ts";
import { rebootWindow } from "../../api/reboot-window.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroup, type UpdateGroupStatus, updateGroup } from "../../api/update-group.ts";
import type { Coordination, FleetSnapshot, Leadership } from "../../coordination/coordination.ts";
import type { GroupGate } from "../../coordination/records.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { NODES, PODS, type Pod } from "../../runtime/core.ts";
import { LeadershipLost } from "../../runtime/leader-election.ts";
import { isLost } from "../fleet-cache.ts";
import { ETCD_LABEL, foundationOf, GATEWAY_LABEL, selectorOf } from "../foundation.ts";
import { decideOffers } from "../offers/policy.ts";
import type { World } from "../world.ts";
import { decideGates, GATE_VALIDITY } from "./policy.ts";

/** Milliseconds. */
const PERIOD = 10_000;
const LEAST_REST = 1000;
/** The rest after a renewal, in times of how long it took: a large fleet must not keep the API server busy. */
const REST = 3;
const RETRY = 1000;
const FIELD_MANAGER = "slipway-gates";

export interface GatesDeps {
  client: KubeClient;
  coordination: Pick<Coordination, "writeGates">;
  leader: () => Leadership;
  /** Where the manager runs, and gateways and etcd with it. */
  namespace: string;
  /** A consistent read of etcd. */
  readFleet: () => Promise<FleetSnapshot>;
  clock: Clock;
  log: Logger;
  /** Called after each renewal with what it rests on. `startedAt` is monotonic, ms. */
  onRenewed: (world: World, fleet: FleetSnapshot, startedAt: number, signal: AbortSignal) => Promise<void>;
}

export class GatesController {
  readonly #deps: GatesDeps;
  #wake: (() => void) | undefined;
  #poked = false;
  /** Wall clock, ms: when the last gates were written. */
  renewedAt: number | undefined;

  constructor(deps: GatesDeps) {
    this.#deps = deps;
  }

  /** Something changed: renew soon. */
  poke(): void {
    this.#poked = true;
    this.#wake?.();
  }

  /** Runs until `signal` aborts; throws `LeadershipLost`. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    while (!signal.aborted) {
      this.#poked = false;
      const began = clock.monotonic();
      let rest = RETRY;
      try {
        await this.renew(signal);
        rest = Math.max(LEAST_REST, REST * (clock.monotonic() - began));
      } catch (error) {
        if (signal.aborted) return;
        if (isLost(error)) throw error;
        log.error("can't renew the gates, trying again", error);
      }
      await sleep(clock, Math.min(rest, PERIOD), signal).catch(() => {});
      const left = began + PERIOD - clock.monotonic();
      if (!this.#poked && left > 0 && !signal.aborted) await this.#pokeOrTime(left, signal);
    }
  }

  /** One renewal. Nothing is written unless every read was answered. */
  async renew(signal: AbortSignal): Promise<void> {
    const { coordination, leader, readFleet, clock, onRenewed } = this.#deps;
    const startedAt = clock.monotonic();
    const readAt = clock.now();
    const leading = leader();
    const [world, fleet] = await Promise.all([this.#readWorld(signal), readFleet()]);
    const gates = decideGates(world, fleet, readAt);
    const offers = decideOffers(world, world.channels ?? [], readAt + GATE_VALIDITY);
    if (!(await coordination.writeGates(leading, { ...gates, offers, pulse: fleet.pulse }))) {
      throw new LeadershipLost("the gates were refused: another manager leads, or etcd went back in time");
    }
    this.renewedAt = readAt;
    await onRenewed(world, fleet, startedAt, signal);
    await this.#tell(world.groups, gates.groups, signal);
  }

  async #readWorld(signal: AbortSignal): Promise<World> {
    const { client, namespace } = this.#deps;
    const list = async <T extends KubeObject>(resource: Resource | Kind): Promise<T[]> =>
      (await client.list<T>(resource, { signal })).items;
    const foundation = [GATEWAY_LABEL, ETCD_LABEL].map((label) =>
      client.list<Pod>(PODS, { namespace, labelSelector: selectorOf(label), signal }),
    );
    const [groups, budgets, windows, releases, nodes, nodeUpdates, channels, ...pods] = await Promise.all([
      list<World["groups"][number]>(updateGroup),
      list<World["budgets"][number]>(rebootBudget),
      list<World["windows"][number]>(rebootWindow),
      list<World["releases"][number]>(release),
      list<World["nodes"][number]>(NODES),
      list<World["nodeUpdates"][number]>(nodeUpdate),
      list<NonNullable<World["channels"]>[number]>(channel),
      ...foundation,
    ]);
    const bound = foundationOf(pods.flatMap(({ items }) => items));
    return { groups, budgets, windows, releases, nodes, nodeUpdates, channels, foundation: bound };
  }

  /** Says in each group since when what binds: a pause binds once it is in the gates. */
  async #tell(
    groups: readonly UpdateGroup[],
    gates: readonly GroupGate[],
    signal: AbortSignal,
  ): Promise<void> {
    const { client, clock, log } = this.#deps;
    for (const { metadata, apiVersion, kind, status } of groups) {
      const gate = gates.find(({ group }) => group === metadata.name);
      if (gate === undefined) continue;
      const { paused, halted, open } = gate;
      const { generation = 0, name, uid } = metadata;
      const told = status?.gate;
      if (
        told?.generation === generation &&
        told.paused === paused &&
        told.halted === halted &&
        told.open === open
      ) {
        continue;
      }
      const next: UpdateGroupStatus = {
        gate: { generation, paused, halted, open, since: timestamp(clock.now()) },
      };
      const body = {
        apiVersion,
        kind,
        metadata: { name, ...(uid === undefined ? {} : { uid }) },
        status: next,
      };
      try {
        await client.apply(updateGroup, body, {
          fieldManager: FIELD_MANAGER,
          force: true,
          subresource: "status",
          signal,
        });
      } catch (error) {
        log.error("can't say in the group's status what binds", error, { group: name });
      }
    }
  }

  async #pokeOrTime(milliseconds: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#deps.clock, milliseconds, AbortSignal.any([signal, woken.signal])).catch(() => {});
    this.#wake = undefined;
  }
}
