/**
 * Tells the gateways by which names the machines of Kubernetes come: what Zincati makes of a machine id can't be turned
 * back, so whoever knows the machine id says whose it is. Observes UpdateGroups, Nodes and NodeUpdates; writes `identities/`
 * in etcd.
 */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Coordination, FleetSnapshot, Leadership } from "../../coordination/coordination.ts";
import { namesOf } from "../../coordination/identity.ts";
import type { Identity } from "../../coordination/records.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { Node } from "../../runtime/core.ts";
import { nodeOf, uidOf } from "../node-update/identity.ts";
import type { World } from "../world.ts";

type Known = Pick<World, "groups" | "nodes" | "nodeUpdates">;

/** Written in one round: the first of a large fleet takes some. */
const ROUND = 1000;

/** Whose each id is. Only groups that serve machines without our agent are asked. An id that two have is nobody's. */
export function identitiesOf(
  { groups, nodes, nodeUpdates }: Known,
  { present }: Pick<FleetSnapshot, "present">,
): Map<string, Identity> {
  const byName = new Map(nodes.map((node) => [node.metadata.name, node]));
  const serving = new Set(
    groups.flatMap(({ metadata, spec }) => (spec.machines === undefined ? [] : [metadata.name])),
  );
  const said = nodeUpdates
    .filter(({ spec }) => serving.has(spec.group))
    .flatMap((nodeUpdate) => idsOf(nodeUpdate, nodeOf(nodeUpdate, byName), present));
  const byId = Map.groupBy(said, ([id]) => id);
  return new Map(
    [...byId].flatMap(([id, of]): [string, Identity][] => {
      const [first] = of;
      return first === undefined || of.length > 1 ? [] : [[id, first[1]]];
    }),
  );
}

function idsOf(
  nodeUpdate: NodeUpdate,
  node: Node | undefined,
  present: ReadonlySet<string>,
): [string, Identity][] {
  const uid = uidOf(nodeUpdate);
  const { machineRef, group } = nodeUpdate.spec;
  if (uid === undefined) return [];
  if (node !== undefined) {
    const { name } = node.metadata;
    const identity: Identity = { uid, name, node: { group, agent: present.has(uid) } };
    return [...namesOf(node.status?.nodeInfo?.machineID ?? ""), name].map((id) => [id, identity]);
  }
  if (machineRef === undefined) return [];
  const identity: Identity = { uid, name: nodeUpdate.metadata.name };
  return namesOf(machineRef.machineId)
    .filter((id) => id !== uid)
    .map((id) => [id, identity]);
}

export interface IdentitiesDeps {
  coordination: Pick<Coordination, "readIdentities" | "putIdentities">;
  leader: () => Leadership;
}

export class Identities {
  readonly #deps: IdentitiesDeps;
  /** As etcd has them: nobody else writes them while this manager leads. */
  #written: Map<string, Identity> | undefined;

  constructor(deps: IdentitiesDeps) {
    this.#deps = deps;
  }

  /** One round. Throws what etcd throws; the next round tries again. */
  async tend(world: Known, fleet: Pick<FleetSnapshot, "present">): Promise<void> {
    const { coordination, leader } = this.#deps;
    this.#written ??= new Map(await coordination.readIdentities());
    const wanted = identitiesOf(world, fleet);
    const all: [string, Identity | undefined][] = [
      ...[...this.#written.keys()].flatMap((id): [string, undefined][] =>
        wanted.has(id) ? [] : [[id, undefined]],
      ),
      ...[...wanted].filter(([id, identity]) => !sameJson(identity, this.#written?.get(id))),
    ];
    if (all.length === 0) return;
    const changes = new Map(all.slice(0, ROUND));
    const before = this.#written;
    // Where it fails nobody knows what was written.
    this.#written = undefined;
    if (!(await coordination.putIdentities(leader(), changes))) return;
    for (const [id, identity] of changes) {
      if (identity === undefined) before.delete(id);
      else before.set(id, identity);
    }
    this.#written = before;
  }
}
