/**
 * A cordon has an owner (design, rule 6): one patch, compared by resourceVersion, sets
 * `unschedulable` and writes beside it under which token and what stood there before.
 */
import * as z from "zod";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import { sameToken, Token } from "../../coordination/records.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";

const Cordon = z.object({
  token: Token,
  /** Whether the node was unschedulable before. */
  unschedulable: z.boolean(),
});
type Cordon = z.output<typeof Cordon>;

/** The cordon of Slipway on `node`; undefined where there is none, or none that can be read. */
export function cordonOf(node: Node): Cordon | undefined {
  const text = node.metadata.annotations?.[CORDON_ANNOTATION];
  if (text === undefined) return undefined;
  try {
    return Cordon.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** What cordons `node` under `token`; undefined where it is so already. What an orphan of ours found stays the prior state. */
export function planCordon(node: Node, token: Token): Patch | undefined {
  const now = node.spec?.unschedulable === true;
  const ours = cordonOf(node);
  if (now && sameToken(ours?.token, token)) return undefined;
  const cordon: Cordon = { token, unschedulable: ours?.unschedulable ?? now };
  return compared(node, JSON.stringify(cordon), true);
}

/**
 * What undoes our cordon, unless its token is one of `live`; undefined where there is
 * nothing of ours to undo. A cordon from before ours stays.
 */
export function planUncordon(node: Node, live: readonly Token[]): Patch | undefined {
  const ours = cordonOf(node);
  if (ours === undefined || live.some((token) => sameToken(token, ours.token))) return undefined;
  return compared(node, null, ours.unschedulable ? true : null);
}

function compared(node: Node, annotation: string | null, unschedulable: true | null): Patch {
  const { uid, resourceVersion } = node.metadata;
  const metadata = { uid, resourceVersion, annotations: { [CORDON_ANNOTATION]: annotation } };
  return { type: "merge", body: { metadata, spec: { unschedulable } } };
}
