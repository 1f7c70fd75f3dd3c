/** Slipway's own Pods: are they Ready, and do the Nodes that carry them say so? */
import type { Pod } from "../../runtime/core.ts";
import { count, names } from "../explain/words.ts";
import type { DoctorFacts } from "./facts.ts";
import { fail, type Line, ok, unread, warn } from "./line.ts";

const NAME = "app.kubernetes.io/name";
const COMPONENT = "app.kubernetes.io/component";
const PART_OF = "app.kubernetes.io/part-of";

export function checkPods({ pods, namespace }: DoctorFacts): Line[] {
  if (typeof pods === "string") return [unread("pods", pods)];
  return [
    ...replicas(
      "manager",
      pods.filter((pod) => is(pod, "manager")),
      namespace,
      "a Ready manager has read etcd and renewed the gates lately",
    ),
    ...replicas(
      "gateway",
      pods.filter((pod) => is(pod, "gateway")),
      namespace,
      "agents reach it",
    ),
    ...etcd(
      pods.filter((pod) => is(pod, "etcd")),
      namespace,
    ),
    ...agents(
      pods.filter((pod) => is(pod, "agent")),
      namespace,
    ),
  ];
}

function is({ metadata }: Pod, component: string): boolean {
  const labels = metadata.labels ?? {};
  if (component === "gateway" && labels[NAME] === "slipway-gateway") return true;
  const ours = labels[PART_OF] === "slipway" || labels[NAME]?.startsWith("slipway") === true;
  return ours && (labels[COMPONENT] === component || labels[NAME] === `slipway-${component}`);
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") === true;
}

function look(component: string, namespace: string): string {
  return `kubectl -n ${namespace} describe pods -l app.kubernetes.io/component=${component}`;
}

function replicas(component: string, pods: readonly Pod[], namespace: string, means: string): Line[] {
  if (pods.length === 0) {
    return [
      warn(
        component,
        `there is no ${component} Pod in namespace ${namespace}`,
        `if Slipway is installed elsewhere, say where by -n; else install the chart`,
      ),
    ];
  }
  const ready = pods.filter(isReady);
  if (ready.length === 0)
    return [fail(component, `none of ${count(pods.length, "Pod")} is Ready`, look(component, namespace))];
  if (ready.length < pods.length) {
    const not = pods.filter((pod) => !isReady(pod)).map(({ metadata }) => metadata.name);
    return [
      warn(
        component,
        `${names(not)} ${not.length === 1 ? "is" : "are"} not Ready`,
        look(component, namespace),
      ),
    ];
  }
  return [ok(component, `${count(ready.length, "Pod")} Ready: ${means}`)];
}

/** Without any: an etcd of one's own, that the manager's Ready stands for. */
function etcd(pods: readonly Pod[], namespace: string): Line[] {
  if (pods.length === 0) return [];
  const ready = pods.filter(isReady).length;
  const quorum = Math.floor(pods.length / 2) + 1;
  const found = `${ready} of ${count(pods.length, "member")} Ready`;
  if (ready < quorum) return [fail("etcd", `${found}, and ${quorum} make a quorum`, look("etcd", namespace))];
  if (ready < pods.length)
    return [warn("etcd", `${found}: one more may be missing`, look("etcd", namespace))];
  return [ok("etcd", found)];
}

function agents(pods: readonly Pod[], namespace: string): Line[] {
  const not = pods.filter((pod) => !isReady(pod));
  if (not.length === 0) return [];
  const where = names(
    not.map(({ spec }) => spec?.nodeName ?? "no node"),
    5,
  );
  return [warn("agents", `the agent's Pod is not Ready on ${where}`, look("agent", namespace))];
}

/** Rule 12: the manager sees by these Pods which Nodes Slipway stands on, and lets one of them be down at a time. */
export function checkInfrastructure({ pods }: DoctorFacts): Line[] {
  if (typeof pods === "string") return [];
  const carrying = new Set(
    pods.filter((pod) => is(pod, "gateway") || is(pod, "etcd")).flatMap(({ spec }) => spec?.nodeName ?? []),
  );
  if (carrying.size === 0) return [];
  return [
    ok("infrastructure", `${count(carrying.size, "Node")} with gateways or etcd: one is down at a time`),
  ];
}
