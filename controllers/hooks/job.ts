/** The Job of a hook: a CronJob's template, for one node and one grant. */
import { parseDuration } from "../../api/duration.ts";
import type { Hook } from "../../api/hook.ts";
import { HOOK_RUN_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION } from "../../api/meta.ts";
import { nodeUpdate as kind } from "../../api/node-update.ts";
import type { CronJob, EnvVar, Job, PodTemplate } from "../../runtime/core.ts";
import { type Asker, keyOfRun, toldOf } from "./asker.ts";
import type { Answer } from "./policy.ts";
import { jobName } from "./run-name.ts";

/** A Job that is over is there for its logs so long, s; one that went sooner would be taken for one that never was. */
const KEPT = 3600;

/** Taints of a node that is cordoned, or has just come back; a DaemonSet's Pods tolerate them too. */
const TOLERATED = [
  { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute" },
];

/** Why no Job can be made for `asker` of `cronJob`; undefined if one can. */
export function refusedBecause({ hook, nodeUpdate }: Asker, { metadata, spec }: CronJob): string | undefined {
  const name = `CronJob ${metadata.namespace ?? ""}/${metadata.name}`;
  if (spec?.suspend !== true) return `${name} is not suspended; a hook takes none that runs by itself`;
  if (hook.job?.onNode === true && nodeUpdate.spec.nodeName === undefined)
    return "a plain machine runs no Pods; set job.onNode to false";
  return undefined;
}

export function jobOf(asker: Asker, job: NonNullable<Hook["job"]>, cronJob: CronJob): Job {
  const { hook, nodeUpdate } = asker;
  const { metadata: labelled = {}, spec = {} } = cronJob.spec?.jobTemplate ?? {};
  const { template = {}, activeDeadlineSeconds, ttlSecondsAfterFinished, suspend: _suspend, ...rest } = spec;
  const timeout = Math.max(1, Math.ceil(parseDuration(hook.timeout) / 1000));
  const key = keyOfRun(asker);
  const { uid } = nodeUpdate.metadata;
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: jobName(key, hook.name),
      namespace: job.namespace,
      labels: { ...labelled.labels, "app.kubernetes.io/managed-by": "slipway" },
      annotations: { ...labelled.annotations, [HOOK_RUN_ANNOTATION]: key },
      ...(uid === undefined
        ? {}
        : {
            ownerReferences: [
              { apiVersion: API_VERSION, kind: kind.kind, name: nodeUpdate.metadata.name, uid },
            ],
          }),
    },
    spec: {
      ...rest,
      activeDeadlineSeconds: Math.min(timeout, activeDeadlineSeconds ?? timeout),
      ttlSecondsAfterFinished: Math.max(KEPT, ttlSecondsAfterFinished ?? KEPT),
      template: podOf(asker, job, template),
    },
  };
}

function podOf(asker: Asker, job: NonNullable<Hook["job"]>, template: PodTemplate): PodTemplate {
  const { node, group, release, hook, phase, grant } = toldOf(asker);
  const told: EnvVar[] = Object.entries({
    NODE_NAME: asker.nodeUpdate.spec.nodeName ?? node,
    SLIPWAY_GROUP: group,
    SLIPWAY_RELEASE: release,
    SLIPWAY_HOOK: hook,
    SLIPWAY_PHASE: phase,
    SLIPWAY_GRANT: grant,
  }).map(([name, value]) => ({ name, value }));
  const withTold = <T extends { env?: EnvVar[] }>(container: T): T => {
    const own = container.env?.filter(({ name }) => !told.some((each) => each.name === name)) ?? [];
    // First, so that the template's own may refer to them.
    return { ...container, env: [...told, ...own] };
  };
  const { containers = [], initContainers, affinity, tolerations = [], ...rest } = template.spec ?? {};
  const { nodeName } = asker.nodeUpdate.spec;
  const pinned = job.onNode && nodeName !== undefined;
  const nodeAffinity = pinned ? onlyOn(nodeName) : affinity?.["nodeAffinity"];
  const all = { ...affinity, ...(nodeAffinity === undefined ? {} : { nodeAffinity }) };
  return {
    ...template,
    spec: {
      ...rest,
      containers: containers.map(withTold),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(withTold) }),
      ...(Object.keys(all).length === 0 ? {} : { affinity: all }),
      ...(pinned ? { tolerations: [...tolerations, ...TOLERATED] } : { tolerations }),
    },
  };
}

/** As a DaemonSet's Pods are bound: by the scheduler, which sees whether they fit. */
function onlyOn(node: string): object {
  const matchFields = [{ key: "metadata.name", operator: "In", values: [node] }];
  return { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] } };
}

function holds({ status }: Job, type: string) {
  return status?.conditions?.find((condition) => condition.type === type && condition.status === "True");
}

/** Whether it is over, well or not: it is there for its logs only. */
export function isOver(job: Job): boolean {
  return holds(job, "Complete") !== undefined || holds(job, "Failed") !== undefined;
}

/** What a Job that is there says. `key`: of the run that it must be of. */
export function answerOfJob(job: Job, key: string): Answer {
  const { metadata, status } = job;
  const name = `Job ${metadata.namespace ?? ""}/${metadata.name}`;
  if (metadata.annotations?.[HOOK_RUN_ANNOTATION] !== key)
    return { kind: "failed", cause: `${name} is not of Slipway` };
  if (holds(job, "Complete") !== undefined) return { kind: "done" };
  const failed = holds(job, "Failed");
  if (failed !== undefined) {
    const told = [failed.reason, failed.message].filter((word) => word !== undefined && word !== "");
    return { kind: "failed", cause: `${name} failed${told.length === 0 ? "" : `: ${told.join(": ")}`}` };
  }
  const { failed: lost = 0 } = status ?? {};
  const after = lost === 0 ? "" : ` after ${lost === 1 ? "1 Pod" : `${lost} Pods`} of it failed`;
  return { kind: "pending", message: `${name} is not over yet${after}` };
}
