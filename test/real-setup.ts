/** What every `*.real.test.ts` finds running: a control plane with crds/ applied, and Slipway's etcd. */
import type { TestProject } from "vitest/node";
import { startEtcd } from "../hack/plane/etcd.ts";
import { startPlane } from "../hack/plane/plane.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Path of a kubeconfig in system:masters. */
    kubeconfig: string;
    /** URL of an etcd with one member; tests share it, so each writes under keys of its own. */
    etcd: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [plane, etcd] = await Promise.all([startPlane(), startEtcd()]);
  try {
    await plane.applyCrds();
  } catch (error) {
    await Promise.all([plane.stop(), etcd.stop()]);
    throw error;
  }
  const [endpoint = ""] = etcd.endpoints;
  project.provide("kubeconfig", plane.kubeconfig);
  project.provide("etcd", endpoint);
  return async () => {
    const keepLogs = project.vitest.state.getCountOfFailedTests() > 0;
    await Promise.all([plane.stop({ keepLogs }), etcd.stop({ keepLogs })]);
  };
}
