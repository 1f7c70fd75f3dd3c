/** Everything that Slipway's commands look at, read once: our kinds, the Nodes, and the leader's Lease. */
import { type Channel, channel } from "../api/channel.ts";
import type { Resource } from "../api/kind.ts";
import { MANAGER_LEASE } from "../api/labels.ts";
import type { KubeObject } from "../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { type RebootWindow, rebootWindow } from "../api/reboot-window.ts";
import { type Release, release } from "../api/release.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { isApiError, type KubeClient } from "../runtime/client.ts";
import { LEASES, type Lease, NODES, type Node } from "../runtime/core.ts";
import { names } from "./explain/words.ts";
import { Failure } from "./io.ts";

/** Objects as the API server has them; not one moment's, for each kind is listed by itself. */
export interface Snapshot {
  nodes: readonly Node[];
  nodeUpdates: readonly NodeUpdate[];
  groups: readonly UpdateGroup[];
  channels: readonly Channel[];
  releases: readonly Release[];
  windows: readonly RebootWindow[];
  budgets: readonly RebootBudget[];
  /** `missing`: no manager ever led. `unreadable`: we may not look. */
  lease: Lease | "missing" | "unreadable";
}

/** Throws `ApiError`; `NotFound` where Slipway's CRDs are not installed. */
export async function readSnapshot(
  client: Pick<KubeClient, "get" | "list">,
  namespace: string | undefined,
): Promise<Snapshot> {
  const all = async <T extends KubeObject>(resource: Resource): Promise<T[]> =>
    (await client.list<T>(resource)).items;
  const [nodes, nodeUpdates, groups, channels, releases, windows, budgets, lease] = await Promise.all([
    all<Node>(NODES),
    all<NodeUpdate>(nodeUpdate),
    all<UpdateGroup>(updateGroup),
    all<Channel>(channel),
    all<Release>(release),
    all<RebootWindow>(rebootWindow),
    all<RebootBudget>(rebootBudget),
    readLease(client, namespace),
  ]);
  return { nodes, nodeUpdates, groups, channels, releases, windows, budgets, lease };
}

/** The leader's Lease: in `namespace`, or wherever it is. */
export async function readLease(
  client: Pick<KubeClient, "list">,
  namespace: string | undefined,
): Promise<Snapshot["lease"]> {
  const leases = await readLeases(client, namespace);
  return leases === "unreadable" ? leases : (leases[0] ?? "missing");
}

async function readLeases(
  client: Pick<KubeClient, "list">,
  namespace: string | undefined,
): Promise<readonly Lease[] | "unreadable"> {
  try {
    const { items } = await client.list<Lease>(LEASES, {
      fieldSelector: `metadata.name=${MANAGER_LEASE}`,
      ...(namespace === undefined ? {} : { namespace }),
    });
    return items;
  } catch (error) {
    if (isApiError(error, "Forbidden")) return "unreadable";
    throw error;
  }
}

/**
 * That Slipway is installed in: as given, or where the only leader Lease is. Throws a `Failure` where that is nowhere,
 * and where it is in several: whoever may make a Lease somewhere must not stand in for Slipway.
 */
export async function namespaceOf(
  client: Pick<KubeClient, "list">,
  given: string | undefined,
): Promise<string> {
  if (given !== undefined) return given;
  const leases = await readLeases(client, given);
  if (leases === "unreadable") throw new Failure("Slipway's leader Lease may not be read: give --namespace");
  const found = leases.flatMap(({ metadata }) => metadata.namespace ?? []);
  const [only] = found;
  if (only === undefined) throw new Failure("Slipway's leader Lease is nowhere: give --namespace");
  if (found.length === 1) return only;
  throw new Failure(
    `Slipway's leader Lease is in ${found.length} namespaces (${names(found)}): give --namespace`,
  );
}
