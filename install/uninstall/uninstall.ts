/**
 * Before the chart is deleted: pauses the groups, waits until no node is on its way down or
 * up, ends the manager, then takes finalizers and cordons of Slipway away and gives the
 * groups back as they were. Run again, it goes on where it was.
 */
import type { Resource } from "../../api/kind.ts";
import { MANAGER_LEASE } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { planUncordon } from "../../controllers/node-update/cordon.ts";
import { planTaint } from "../../controllers/node-update/taint.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { DEPLOYMENTS, type Deployment, LEASES, type Lease, NODES, type Node } from "../../runtime/core.ts";
import { type Change, holdersOf, leaveGroup, leaveNodeUpdate, pause } from "./policy.ts";

const LOOK_AGAIN = 2_000;
/** A manager has so long to end its work and give the Lease back, ms; the Pod's grace period is 40 s. */
const MANAGER_ENDS_WITHIN = 60_000;
/** Of one object, where others write it too. */
const ATTEMPTS = 8;

export interface UninstallOptions {
  client: Pick<KubeClient, "get" | "list" | "patch">;
  clock: Clock;
  log: Logger;
  namespace: string;
  fullname: string;
  /** How long nodes have to end what is under way, ms. */
  deadline: number;
  /** Goes on after that all the same. */
  force: boolean;
}

/** What was changed. */
export interface Uninstalled {
  groups: number;
  nodeUpdates: number;
  uncordoned: string[];
  /** Nodes that did not come back from a reboot. */
  suspect: string[];
}

/** Throws where nodes are still under way at the deadline; then nothing but the pause was done. */
export async function uninstall(options: UninstallOptions): Promise<Uninstalled> {
  const { client, log } = options;
  const groups = () => client.list<UpdateGroup>(updateGroup);
  const paused = await changeAll(options, updateGroup, groups, pause);
  log.info("no new slots are given", { pausedGroups: paused.length });
  const suspect = await waitForHolders(options);
  await endManager(options);
  const left = await changeAll(options, updateGroup, groups, leaveGroup);
  const nodeUpdates = await changeAll(
    options,
    nodeUpdate,
    () => client.list<NodeUpdate>(nodeUpdate),
    leaveNodeUpdate,
  );
  const uncordoned = await changeAll(
    options,
    NODES,
    () => client.list<Node>(NODES),
    (node) => planUncordon(node, [])?.body as Change,
  );
  await changeAll(
    options,
    NODES,
    () => client.list<Node>(NODES),
    (node) => planTaint(node, false)?.body as Change,
  );
  return { groups: left.length, nodeUpdates: nodeUpdates.length, uncordoned, suspect };
}

async function waitForHolders(options: UninstallOptions): Promise<string[]> {
  const { client, clock, log, deadline, force } = options;
  const end = clock.monotonic() + deadline;
  let said = "";
  for (;;) {
    const { under, suspect } = holdersOf(await itemsOf(client.list<NodeUpdate>(nodeUpdate)));
    if (under.length === 0) return suspect;
    const names = under.slice(0, 10).join(", ");
    if (names !== said) log.info("waiting for nodes", { nodes: names, count: under.length });
    said = names;
    if (clock.monotonic() + LOOK_AGAIN > end) {
      if (force) return suspect;
      throw new Error(
        `after ${deadline / 1000} s ${under.length} node(s) are still on their way through a reboot: ${names}. ` +
          "The groups are paused and nothing was removed: see `kubectl get nodeupdates`, and uninstall again; or set uninstall.force to go on without them",
      );
    }
    await sleep(clock, LOOK_AGAIN);
  }
}

/** A manager that runs would set its finalizers again. */
async function endManager({ client, clock, log, namespace, fullname }: UninstallOptions): Promise<void> {
  const key = { name: `${fullname}-manager`, namespace };
  const end = clock.monotonic() + MANAGER_ENDS_WITHIN;
  try {
    await client.patch<Deployment>(DEPLOYMENTS, key, { type: "merge", body: { spec: { replicas: 0 } } });
    log.info("the manager ends", { deployment: key.name });
    for (;;) {
      const { status } = await client.get<Deployment>(DEPLOYMENTS, key);
      if ((status?.replicas ?? 0) === 0 && (await isFree(client, clock, namespace))) return;
      if (clock.monotonic() + LOOK_AGAIN > end) {
        throw new Error(
          `the manager has not ended within ${MANAGER_ENDS_WITHIN / 1000} s: see \`kubectl get pods -n ${namespace}\`, and uninstall again`,
        );
      }
      await sleep(clock, LOOK_AGAIN);
    }
  } catch (error) {
    // It was deleted by hand: then nobody acts.
    if (!isApiError(error, "NotFound")) throw error;
  }
}

async function isFree(client: UninstallOptions["client"], clock: Clock, namespace: string): Promise<boolean> {
  try {
    const { spec } = await client.get<Lease>(LEASES, { name: MANAGER_LEASE, namespace });
    if (!spec?.holderIdentity || spec.renewTime === undefined) return true;
    return clock.now() > Date.parse(spec.renewTime) + (spec.leaseDurationSeconds ?? 0) * 1000;
  } catch (error) {
    if (isApiError(error, "NotFound")) return true;
    throw error;
  }
}

/** Applies `decide` to every object of a kind; names of those that it changed. */
async function changeAll<T extends KubeObject>(
  { client }: UninstallOptions,
  resource: Resource,
  list: () => Promise<{ items: T[] }>,
  decide: (object: T) => Change,
): Promise<string[]> {
  const changed = new Set<string>();
  for (let attempt = 1; ; attempt++) {
    let conflict: unknown;
    for (const object of await itemsOf(list())) {
      const body = decide(object);
      if (body === undefined) continue;
      const { name } = object.metadata;
      try {
        await client.patch(resource, { name }, { type: "merge", body });
        changed.add(name);
      } catch (error) {
        if (isApiError(error, "NotFound")) continue;
        if (!isApiError(error, "Conflict")) throw error;
        conflict = error;
      }
    }
    if (conflict === undefined) return [...changed];
    if (attempt >= ATTEMPTS) throw conflict;
  }
}

/** Without its CRD there is nothing of a kind. */
async function itemsOf<T>(list: Promise<{ items: T[] }>): Promise<T[]> {
  try {
    return (await list).items;
  } catch (error) {
    if (isApiError(error, "NotFound")) return [];
    throw error;
  }
}
