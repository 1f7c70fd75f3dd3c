/**
 * Which Pods leave a node, when a drain is over, and when it gives up (design, rules 6,
 * 12 and 13). Pods are known by UID: one of the same name elsewhere is another Pod.
 */
import { parseDuration } from "../../api/duration.ts";
import { timestamp } from "../../api/meta.ts";
import type { Reason, Why } from "../../api/reasons.ts";
import type { UpdateGroupSpec } from "../../api/update-group.ts";
import type { Pod } from "../../runtime/core.ts";
import { carries, ETCD_LABEL, GATEWAY_LABEL, MANAGER_LABEL } from "../foundation.ts";

/** Evictions asked for in one pass: the rest follows in the next. */
const PASS = 50;
/** A drain in which an eviction is refused and no Pod left for this long is stuck, ms. */
export const STUCK_AFTER = 60_000;
/** So long a Pod may take beyond its grace period until it is told of, ms. */
export const OVERDUE_AFTER = 15_000;
/** Pods that a message names. */
const NAMED = 3;

export interface DrainView {
  node: string;
  /** Pods that the API server says are on the node. */
  pods: readonly Pod[];
  /** All Pods of gateways and managers, wherever they are. */
  foundation: readonly Pod[];
  /** Their namespace, and etcd's: a Pod elsewhere is none of them, whatever its labels say. */
  namespace: string;
  policy: UpdateGroupSpec["drain"];
  /** Wall clock, ms. */
  startedAt: number;
  now: number;
  /** Wall clock, ms: before that load balancers may not have let go of the node, and no Pod leaves. */
  notBefore: number;
  /** By Pod UID: how the last attempt to evict it was refused. */
  refusals: ReadonlyMap<string, Refusal>;
  /** Milliseconds since a Pod last left, or since the start. */
  idleFor: number;
  /** The group's opening; `closes` is null where nothing closes it. */
  open: boolean;
  closes: number | null;
  /** Whether a change freeze is in force, or begins before the reboot could be over: no drain outlasts that. */
  frozen: boolean;
  /** Milliseconds that the reboot and a fallback boot may take. */
  bootNeeds: number;
  /** Jobs of this grant's hooks, whose Pods stay. */
  hookJobs?: readonly { namespace: string; name: string }[];
  /** Create revision of our token. */
  revision: number;
  /** Other drains. */
  rivals: readonly Rival[];
}

export interface Refusal {
  /** `budget`: a PodDisruptionBudget; `server`: whatever else comes of asking. */
  by: "budget" | "server";
  message: string;
}

export interface Rival {
  node: string;
  revision: number;
  /** Whether it is stuck too. */
  stuck: boolean;
}

export type DrainDecision =
  | { act: "wait"; why: Why }
  | { act: "evict"; pods: readonly Pod[]; left: number; why: Why }
  | { act: "done"; why: Why }
  | { act: "abort"; why: Why };

export function decideDrain(view: DrainView): DrainDecision {
  const { policy, now, startedAt } = view;
  const left = leaving(view);
  if (now < view.notBefore) {
    if (mustStop(view))
      return { act: "abort", why: say("WindowClosing", "The window closes before the drain begins.") };
    const message = `Load balancers have until ${timestamp(view.notBefore)} to let go of the node.`;
    return { act: "wait", why: say("LeavingLoadBalancers", message) };
  }
  if (!policy.enabled) return { act: "done", why: say("Drained", "The group does not drain its nodes.") };
  if (left.length === 0) return { act: "done", why: say("Drained", "Every Pod that has to leave has left.") };
  const blocked = left.filter(({ metadata }) => view.refusals.has(metadata.uid ?? ""));
  const lateFor = now - startedAt - parseDuration(policy.timeout);
  if (lateFor >= 0) {
    if (policy.onTimeout === "Force") {
      const message = `${count(left)} stayed beyond ${policy.timeout}: ${names(left)}; the drain is Force.`;
      return { act: "done", why: say("Drained", message) };
    }
    return {
      act: "abort",
      why: say("DrainTimedOut", `After ${policy.timeout} ${stillThere(left, blocked, view)}`),
    };
  }
  if (mustStop(view)) {
    const when = view.closes === null || !view.open ? "has closed" : `closes at ${timestamp(view.closes)}`;
    return {
      act: "abort",
      why: say("WindowClosing", `The window ${when}, and ${stillThere(left, blocked, view)}`),
    };
  }
  const elder = yieldsTo(view, blocked);
  if (elder !== undefined) {
    const message = `Neither this drain nor that of ${elder.node} gets on; this one is younger and gives way.`;
    return { act: "abort", why: say("DrainYielded", message) };
  }
  // Those that were refused come last: they must not keep the others from being asked.
  const pods = left
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .toSorted((a, b) => Number(blocked.includes(a)) - Number(blocked.includes(b)))
    .slice(0, PASS);
  const refusal = tell(blocked, view.refusals);
  const why =
    refusal !== undefined
      ? say(REASONS[refusal.by], stillThere(left, blocked, view))
      : overdue(left, now).length > 0
        ? say("PodsNotEnding", stillThere(left, blocked, view))
        : say("Draining", `${count(left)} to leave: ${names(left)}.`);
  return { act: "evict", pods, left: left.length, why };
}

/** Whether the window closes too soon for what is left to do, and that ends the drain, or what follows it before the commit. */
export function mustStop({
  policy,
  now,
  open,
  closes,
  bootNeeds,
  frozen,
}: Pick<DrainView, "policy" | "now" | "open" | "closes" | "bootNeeds" | "frozen">): boolean {
  const closing = !open || (closes !== null && now + bootNeeds > closes);
  return closing && (policy.onWindowClose === "Abort" || frozen);
}

/** The oldest stuck drain, if this one is stuck and younger. */
function yieldsTo({ idleFor, rivals, revision }: DrainView, blocked: readonly Pod[]): Rival | undefined {
  if (!isStuck(idleFor, blocked.length)) return undefined;
  return rivals.find((rival) => rival.stuck && rival.revision < revision);
}

export function isStuck(idleFor: number, blocked: number): boolean {
  return blocked > 0 && idleFor >= STUCK_AFTER;
}

/**
 * Pods that must leave. Gateways and managers leave when nothing else is left, and only if another one of their
 * kind is Ready elsewhere. Without a gateway no agent could commit; a manager whose Pod finds no other place would
 * leave a cordoned node that nobody looks after. Members of etcd stay: elsewhere they would be without their data,
 * and a commit needs them until the reboot.
 */
export function leaving({
  pods,
  node,
  foundation,
  namespace,
  hookJobs = [],
}: Pick<DrainView, "pods" | "node" | "foundation" | "namespace" | "hookJobs">): Pod[] {
  const bound = pods.filter(
    (pod) =>
      pod.spec?.nodeName === node &&
      mustLeave(pod) &&
      !isOfHook(pod, hookJobs) &&
      !carries(pod, ETCD_LABEL, namespace),
  );
  const kindOf = (pod: Pod) => LAST_STAYS.find((label) => carries(pod, label, namespace));
  const others = bound.filter((pod) => kindOf(pod) === undefined);
  if (others.length > 0) return others;
  const elsewhere = foundation.filter(
    (pod) => pod.spec?.nodeName !== node && pod.metadata.deletionTimestamp === undefined && isReadyPod(pod),
  );
  return bound.filter(
    (pod) =>
      pod.metadata.deletionTimestamp !== undefined ||
      elsewhere.some((other) => kindOf(other) === kindOf(pod)),
  );
}

const LAST_STAYS = [GATEWAY_LABEL, MANAGER_LABEL] as const;

function mustLeave({ metadata, status }: Pod): boolean {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  const mirror = metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined;
  const finished = status?.phase === "Succeeded" || status?.phase === "Failed";
  return owner?.kind !== "DaemonSet" && owner?.kind !== "Node" && !mirror && !finished;
}

function isOfHook({ metadata }: Pod, jobs: NonNullable<DrainView["hookJobs"]>): boolean {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  return (
    owner?.kind === "Job" &&
    jobs.some(({ namespace, name }) => namespace === metadata.namespace && name === owner.name)
  );
}

function isReadyPod({ status }: Pod): boolean {
  return (
    status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ===
    true
  );
}

/**
 * Whether a slot is worth taking, after every eviction was tried dry: not if each of them
 * was refused. `refusals` by Pod UID.
 */
export function dryVerdict(pods: readonly Pod[], refusals: ReadonlyMap<string, Refusal>): Why | undefined {
  const asked = pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const refused = asked.filter(({ metadata }) => refusals.has(metadata.uid ?? ""));
  const refusal = tell(refused, refusals);
  if (refusal === undefined || refused.length < asked.length) return undefined;
  return say(REASONS[refusal.by], `No Pod could leave now: ${names(refused)}. ${refusal.message}`);
}

const REASONS = { budget: "BlockedByDisruptionBudget", server: "EvictionRefused" } as const;

/** The refusal to tell of those of `refused`: one that no budget explains, or the first. */
function tell(refused: readonly Pod[], refusals: ReadonlyMap<string, Refusal>): Refusal | undefined {
  const said = refused.flatMap(({ metadata }) => refusals.get(metadata.uid ?? "") ?? []);
  return said.find(({ by }) => by === "server") ?? said[0];
}

function stillThere(
  left: readonly Pod[],
  blocked: readonly Pod[],
  { refusals, now }: Pick<DrainView, "refusals" | "now">,
): string {
  const refusal = tell(blocked, refusals);
  const late = keptBy(overdue(left, now));
  if (refusal === undefined) return `${count(left)} had not left: ${names(left)}${late}.`;
  return `${count(left)} had not left${late}, and ${names(blocked)} may not be evicted: ${refusal.message}`;
}

/** Pods that were told to go and are there beyond their time. Their deletionTimestamp is when they should have ended. */
function overdue(left: readonly Pod[], now: number): Pod[] {
  return left.filter(({ metadata }) => now - Date.parse(metadata.deletionTimestamp ?? "") >= OVERDUE_AFTER);
}

/** Of the first of `pods`, what keeps it; "" without any. */
function keptBy(pods: readonly Pod[]): string {
  const [first] = pods;
  if (first === undefined) return "";
  const { namespace, name, deletionTimestamp = "", finalizers = [] } = first.metadata;
  const [finalizer] = finalizers;
  const what =
    finalizer === undefined ? "its kubelet has not ended it" : `its finalizer ${finalizer} keeps it`;
  const more = pods.length > 1 ? `, and ${pods.length - 1} more` : "";
  return `; ${namespace}/${name} should have ended at ${deletionTimestamp}, but ${what}${more}`;
}

function count(pods: readonly Pod[]): string {
  return pods.length === 1 ? "1 Pod" : `${pods.length} Pods`;
}

function names(pods: readonly Pod[]): string {
  const shown = pods.slice(0, NAMED).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  return shown.join(", ") + (pods.length > NAMED ? ` and ${pods.length - NAMED} more` : "");
}

function say(reason: Reason, message: string): Why {
  return { reason, message };
}
