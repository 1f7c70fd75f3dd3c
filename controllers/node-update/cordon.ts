/**
 * A cordon has an owner (design, rule 6): one patch, compared by resourceVersion, sets
 * `unschedulable`, where it is asked for the label that keeps load balancers away, and writes beside it under which token and what stood there before.
 */
import * as z from "zod";
import { CORDON_ANNOTATION, EXCLUDE_LABEL } from "../../api/labels.ts";
import { sameToken, Token } from "../../coordination/records.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";

const Cordon = z.object({
  token: Token,
  /** Whether the node was unschedulable before. */
  unschedulable: z.boolean(),
  /** Whether the label that excludes from load balancers was there before; absent where we did not set it. */
  excluded: z.boolean().optional(),
  /** Wall clock, ms: when we set that label. */
  excludedAt: z.number().optional(),
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

/**
 * What cordons `node` under `token`; undefined where it is so already. What an orphan of ours found
 * stays the prior state. `exclude`: wall clock, ms, of now, where load balancers are to let go of it too.
 */
export function planCordon(node: Node, token: Token, exclude?: number): Patch | undefined {
  const now = node.spec?.unschedulable === true;
  const label = node.metadata.labels?.[EXCLUDE_LABEL];
  const ours = cordonOf(node);
  const mine = sameToken(ours?.token, token);
  if (now && mine && (exclude === undefined || label !== undefined)) return undefined;
  const cordon: Cordon = { token, unschedulable: ours?.unschedulable ?? now };
  if (ours?.excluded !== undefined) cordon.excluded = ours.excluded;
  if (exclude === undefined) return compared(node, cordon, true, {});
  cordon.excluded ??= label !== undefined;
  cordon.excludedAt = mine ? (ours?.excludedAt ?? exclude) : exclude;
  return compared(node, cordon, true, { [EXCLUDE_LABEL]: label ?? "" });
}

/**
 * What undoes our cordon, unless its token is one of `live`; undefined where there is
 * nothing of ours to undo. A cordon from before ours stays.
 */
export function planUncordon(node: Node, live: readonly Token[]): Patch | undefined {
  const ours = cordonOf(node);
  if (ours === undefined || live.some((token) => sameToken(token, ours.token))) return undefined;
  const labels: Record<string, null> = ours.excluded === false ? { [EXCLUDE_LABEL]: null } : {};
  return compared(node, null, ours.unschedulable ? true : null, labels);
}

function compared(
  node: Node,
  cordon: Cordon | null,
  unschedulable: true | null,
  labels: Record<string, string | null>,
): Patch {
  const { uid, resourceVersion } = node.metadata;
  const annotations = { [CORDON_ANNOTATION]: cordon === null ? null : JSON.stringify(cordon) };
  const metadata = { uid, resourceVersion, annotations, labels };
  return { type: "merge", body: { metadata, spec: { unschedulable } } };
}
