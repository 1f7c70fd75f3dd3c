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
  /** The run of a hook that asks by a label, what stood there before (null: nothing), and the annotations that answer. */
  ask: z
    .object({
      run: z.string(),
      label: z.string(),
      before: z.string().nullable(),
      answers: z.array(z.string()),
    })
    .optional(),
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
  if (ours?.ask !== undefined) cordon.ask = ours.ask;
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
  const excluded: Record<string, null> = ours.excluded === false ? { [EXCLUDE_LABEL]: null } : {};
  const { labels, answers } = undone(ours);
  return compared(node, null, ours.unschedulable ? true : null, { ...excluded, ...labels }, answers);
}

/** What a hook asks a node by. */
export interface Ask {
  run: string;
  label: string;
  value: string;
  answers: readonly string[];
}

/**
 * What asks `node`, for the grant of `token`: the label, in place of another run's, and old answers taken off; undefined
 * where it asks so already. It lies beside the cordon, so that whatever undoes that undoes this too.
 */
export function planAsk(node: Node, token: Token, { run, label, value, answers }: Ask): Patch | undefined {
  const ours = cordonOf(node);
  const stands = node.metadata.labels?.[label];
  const mine = sameToken(ours?.token, token) && ours?.ask?.run === run;
  if (mine && stands === value) return undefined;
  const former = ours === undefined ? { labels: {}, answers: {} } : undone(ours);
  const before = ours?.ask?.label === label ? ours.ask.before : (stands ?? null);
  const unschedulable = node.spec?.unschedulable === true;
  const cordon: Cordon = {
    ...(ours ?? { unschedulable }),
    token,
    ask: { run, label, before, answers: [...answers] },
  };
  // A label that somebody took off while it asks is set again; what was answered meanwhile stays.
  const cleared = mine ? {} : { ...former.answers, ...none(answers) };
  return compared(node, cordon, unschedulable || null, { ...former.labels, [label]: value }, cleared);
}

/** What takes back how a hook asks, and its answers; undefined where none does. */
export function planUnask(node: Node): Patch | undefined {
  const ours = cordonOf(node);
  if (ours?.ask === undefined) return undefined;
  const { ask: _ask, ...cordon } = ours;
  const { labels, answers } = undone(ours);
  return compared(node, cordon, node.spec?.unschedulable === true || null, labels, answers);
}

/** As it was before a hook asked. */
function undone({ ask }: Cordon): {
  labels: Record<string, string | null>;
  answers: Record<string, null>;
} {
  return ask === undefined
    ? { labels: {}, answers: {} }
    : { labels: { [ask.label]: ask.before }, answers: none(ask.answers) };
}

function none(keys: readonly string[]): Record<string, null> {
  return Object.fromEntries(keys.map((key) => [key, null]));
}

function compared(
  node: Node,
  cordon: Cordon | null,
  unschedulable: true | null,
  labels: Record<string, string | null>,
  taken: Record<string, null> = {},
): Patch {
  const { uid, resourceVersion } = node.metadata;
  const annotations = { ...taken, [CORDON_ANNOTATION]: cordon === null ? null : JSON.stringify(cordon) };
  const metadata = { uid, resourceVersion, annotations, labels };
  return { type: "merge", body: { metadata, spec: { unschedulable } } };
}
