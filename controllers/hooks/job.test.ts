import { expect, test } from "vitest";
import { Hook } from "../../api/hook.ts";
import { HOOK_RUN_ANNOTATION } from "../../api/labels.ts";
import type { CronJob, Job } from "../../runtime/core.ts";
import { INCARNATION, node, nodeUpdate } from "../fixtures.ts";
import type { Asker } from "./asker.ts";
import { answerOfJob, isOver, jobOf, refusedBecause } from "./job.ts";

const KEY = "nonce-7/Before/ceph";

function asker(job: object = {}): Asker {
  const hook = Hook.parse({
    name: "ceph",
    job: { namespace: "ops", cronJob: "ceph", ...job },
    timeout: "90s",
    onFailure: "Stop",
  });
  return {
    hook,
    phase: "Before",
    nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0"),
    node: node("a"),
    group: "pool",
    release: "os-1.1.0",
    grant: "nonce-7",
    token: { incarnation: INCARNATION, revision: 7 },
  };
}

const cronJob = (spec: object = {}, more: object = {}): CronJob => ({
  apiVersion: "batch/v1",
  kind: "CronJob",
  metadata: { name: "ceph", namespace: "ops" },
  spec: {
    suspend: true,
    jobTemplate: {
      metadata: { labels: { team: "storage" } },
      spec: {
        backoffLimit: 1,
        template: {
          metadata: { labels: { app: "ceph" } },
          spec: {
            restartPolicy: "Never",
            containers: [
              {
                name: "x",
                image: "x.test/x",
                env: [
                  { name: "NODE_NAME", value: "mine" },
                  { name: "OWN", value: "1" },
                ],
              },
            ],
            ...more,
          },
        },
        ...spec,
      },
    },
  },
});

const made = (of: Asker, from: CronJob): Job => {
  const { job } = of.hook;
  if (job === undefined) throw new Error("it has a Job");
  return jobOf(of, job, from);
};

test("the template becomes a Job of this run, that belongs to the NodeUpdate and ends by itself", () => {
  const job = made(asker(), cronJob({ suspend: true, activeDeadlineSeconds: 600 }));
  expect(job.metadata).toMatchObject({
    namespace: "ops",
    name: expect.stringMatching(/^slipway-ceph-[0-9a-f]{16}$/),
    labels: { team: "storage", "app.kubernetes.io/managed-by": "slipway" },
    annotations: { [HOOK_RUN_ANNOTATION]: KEY },
    ownerReferences: [{ kind: "NodeUpdate", name: "a", uid: "nu-a" }],
  });
  expect(job.spec).toMatchObject({
    backoffLimit: 1,
    activeDeadlineSeconds: 90,
    ttlSecondsAfterFinished: 3600,
  });
  expect(job.spec?.suspend).toBeUndefined();
  expect(job.spec?.template).toMatchObject({ metadata: { labels: { app: "ceph" } } });
});

test("a deadline of the template that is shorter stands, one of its time to live does not make it vanish unseen", () => {
  const job = made(asker(), cronJob({ activeDeadlineSeconds: 5, ttlSecondsAfterFinished: 0 }));
  expect(job.spec).toMatchObject({ activeDeadlineSeconds: 5, ttlSecondsAfterFinished: 3600 });
});

test("every container is told of the node, in place of what the template says", () => {
  const init = [{ name: "i", image: "x.test/x" }];
  const { template } = made(asker(), cronJob({}, { initContainers: init })).spec ?? {};
  const told = [
    { name: "NODE_NAME", value: "a" },
    { name: "SLIPWAY_GROUP", value: "pool" },
    { name: "SLIPWAY_RELEASE", value: "os-1.1.0" },
    { name: "SLIPWAY_HOOK", value: "ceph" },
    { name: "SLIPWAY_PHASE", value: "Before" },
    { name: "SLIPWAY_GRANT", value: "nonce-7" },
  ];
  expect(template?.spec?.containers?.[0]?.env).toEqual([...told, { name: "OWN", value: "1" }]);
  expect(template?.spec?.initContainers?.[0]?.env).toEqual(told);
  expect(template?.spec?.affinity).toBeUndefined();
});

test("on the node itself it runs by the scheduler, past the cordon, whatever else the template prefers", () => {
  const podAffinity = { preferredDuringSchedulingIgnoredDuringExecution: [] };
  const own = { affinity: { podAffinity, nodeAffinity: {} }, tolerations: [{ key: "own" }] };
  const { template } = made(asker({ onNode: true }), cronJob({}, own)).spec ?? {};
  const matchFields = [{ key: "metadata.name", operator: "In", values: ["a"] }];
  expect(template?.spec?.affinity).toEqual({
    podAffinity,
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] },
    },
  });
  expect(template?.spec?.tolerations).toMatchObject([
    { key: "own" },
    { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
    {},
    {},
  ]);
});

test("what runs by itself is no template, and a plain machine runs no Pods", () => {
  expect(refusedBecause(asker(), cronJob())).toBeUndefined();
  const running: CronJob = { ...cronJob(), spec: { ...cronJob().spec, suspend: false } };
  expect(refusedBecause(asker(), running)).toMatch(/^CronJob ops\/ceph is not suspended/);
  const plain = asker({ onNode: true });
  const machine = { ...plain.nodeUpdate, spec: { machineRef: { machineId: "m" }, group: "pool" } };
  expect(refusedBecause({ ...plain, nodeUpdate: machine }, cronJob())).toMatch(/plain machine/);
  expect(refusedBecause({ ...asker(), nodeUpdate: machine }, cronJob())).toBeUndefined();
});

test("a Job's conditions are its answer; one of somebody else's is none", () => {
  const job = (status: Job["status"] = {}, run = KEY): Job => ({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "j", namespace: "ops", annotations: { [HOOK_RUN_ANNOTATION]: run } },
    status,
  });
  const condition = (type: string, status = "True") => ({ type, status });
  expect(answerOfJob(job({ conditions: [condition("Complete")] }), KEY)).toEqual({ kind: "done" });
  expect(answerOfJob(job({ conditions: [condition("Complete", "False")] }), KEY)).toMatchObject({
    kind: "pending",
  });
  const failed = { ...condition("Failed"), reason: "BackoffLimitExceeded", message: "it failed twice" };
  expect(answerOfJob(job({ conditions: [failed] }), KEY)).toEqual({
    kind: "failed",
    cause: "Job ops/j failed: BackoffLimitExceeded: it failed twice",
  });
  expect(answerOfJob(job({ failed: 2 }), KEY)).toEqual({
    kind: "pending",
    message: "Job ops/j is not over yet after 2 Pods of it failed",
  });
  expect(answerOfJob(job({}, "other"), KEY)).toEqual({
    kind: "failed",
    cause: "Job ops/j is not of Slipway",
  });
  expect([job({}), job({ conditions: [failed] })].map(isOver)).toEqual([false, true]);
});
