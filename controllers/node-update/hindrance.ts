/** What is asked once more before a slot is: what holds the node back, or would make it hold the slot in vain. */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Node } from "../../runtime/core.ts";
import type { Prober } from "../blockers/prober.ts";
import type { Drainer } from "../drain/drainer.ts";
import type { TakePlan } from "../grants/policy.ts";

interface HindranceDeps {
  prober: Pick<Prober, "ask">;
  drainer: Pick<Drainer, "dryRun">;
  stores: { groups: { get(name: string): UpdateGroup | undefined } };
}

/** Why no slot is asked for after all: a blocker of the group, or that every eviction was tried dry and refused (rule 13). */
export async function hindranceOf(
  { prober, drainer, stores }: HindranceDeps,
  { metadata, spec }: NodeUpdate,
  node: Node | undefined,
  { release, asked }: TakePlan,
  signal: AbortSignal,
): Promise<Why | undefined> {
  const group = stores.groups.get(spec.group);
  const asker = { name: metadata.name, node: spec.nodeName, release };
  const barred =
    group === undefined || asked !== undefined ? undefined : await prober.ask(group, asker, signal);
  if (barred !== undefined || node === undefined) return barred;
  const drain = group?.spec.drain;
  if (drain?.enabled !== true || drain.onTimeout === "Force") return undefined;
  return drainer.dryRun(node.metadata.name, signal);
}

export function notAsked(error: unknown): Why {
  const message = error instanceof Error ? error.message : String(error);
  return { reason: "SlotNotAsked", message: `Asking for a slot failed: ${message.slice(0, 1024)}` };
}
