/** `updateservicectl database backup`: what people declared, as one list that `kubectl apply -f` takes. */
import { kinds } from "../../api/kinds.ts";
import { GROUP, type KubeObject } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import type { Person } from "../../runtime/access.ts";
import type { Desk } from "./desk.ts";

/** Throws `WriteError` where RBAC does not let the person list one of the kinds. */
export async function backup(desk: Desk, person: Person): Promise<unknown> {
  const { objects } = desk.options;
  // What the manager makes by itself is made again.
  for (const resource of kinds.filter(({ kind }) => kind !== nodeUpdate.kind)) {
    await desk.demand({ person, verb: "list", resource });
  }
  const { releases, channels, groups } = desk.catalogue();
  const declared: readonly (KubeObject & { spec: unknown })[] = [
    ...[...releases, ...channels, ...groups],
    ...[...objects.budgets.list(), ...objects.windows.list()],
  ];
  return { apiVersion: "v1", kind: "List", items: declared.map(bare) };
}

function bare({ apiVersion, kind, metadata, spec }: KubeObject & { spec: unknown }): unknown {
  const { name, labels, annotations = {} } = metadata;
  const ours = Object.entries(annotations).filter(([key]) => key.startsWith(`${GROUP}/`));
  return {
    ...{ apiVersion, kind },
    metadata: {
      name,
      ...(labels === undefined ? {} : { labels }),
      ...(ours.length === 0 ? {} : { annotations: Object.fromEntries(ours) }),
    },
    spec,
  };
}
