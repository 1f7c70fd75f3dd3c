/** Kills the manager in the moment that the design is most careful about (section 5, rule 9). */
import type { NodeUpdate } from "../../../api/node-update.ts";
import { nodeUpdate as kind } from "../../../api/node-update.ts";
import type { Cluster } from "../../../hack/cluster/cluster.ts";
import { systemClock } from "../../../ports/clock.ts";
import { systemRandom } from "../../../ports/random.ts";
import { loadKubeConfig } from "../../../runtime/kubeconfig.ts";
import { createRestClient } from "../../../runtime/rest-client.ts";
import { leaderLease, leaderOf } from "./leader.ts";

const GRANTING_WITHIN = 120_000;

/**
 * As soon as a status says `Granting`, kills the leader and the API server, and starts them
 * again; `rounds` times. Says of each round whether etcd had the grant already.
 */
export async function killWhileGranting(cluster: Cluster, rounds: number): Promise<string[]> {
  const told: string[] = [];
  while (told.length < rounds) {
    const victim = leaderOf(cluster.managers, await leaderLease(cluster.plane));
    const { name, uid } = await nextGranting(cluster);
    await victim.kill();
    await cluster.plane.kill("kube-apiserver");
    const found = await cluster.etcd.etcdctl(["get", `/slipway/grants/${uid}`, "--keys-only"]);
    told.push(`${name} ${found === "" ? "before" : "after"} its grant`);
    await cluster.plane.start("kube-apiserver");
    await victim.start();
  }
  return told;
}

/** The next node whose status says that a slot is being taken: told by a watch, at once. */
async function nextGranting(cluster: Cluster): Promise<{ name: string; uid: string }> {
  const client = createRestClient(loadKubeConfig(cluster.plane.kubeconfig), {
    clock: systemClock,
    random: systemRandom,
  });
  const end = new AbortController();
  const signal = AbortSignal.any([end.signal, AbortSignal.timeout(GRANTING_WITHIN)]);
  try {
    const source = client.watches(kind, {});
    const { resourceVersion } = await source.list({ limit: 500, signal });
    for await (const { object } of source.watch({ resourceVersion, timeoutSeconds: 300, signal })) {
      const { metadata, spec, status } = object as NodeUpdate;
      if (status?.grant?.phase === "Granting") return { name: metadata.name, uid: spec.nodeUID ?? "" };
    }
  } finally {
    end.abort();
    await client.close();
  }
  throw new Error("the watch ended before any node was granted a slot");
}
