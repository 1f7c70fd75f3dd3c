/** Kills the manager in the moment that the design is most careful about (section 5, rule 9). */
import type { NodeUpdate } from "../../../api/node-update.ts";
import { nodeUpdate as kind } from "../../../api/node-update.ts";
import type { Cluster } from "../../../hack/cluster/cluster.ts";
import { sleep, systemClock } from "../../../ports/clock.ts";
import { systemRandom } from "../../../ports/random.ts";
import { isApiError } from "../../../runtime/client.ts";
import { loadKubeConfig } from "../../../runtime/kubeconfig.ts";
import { createRestClient } from "../../../runtime/rest-client.ts";
import type { WatchSource } from "../../../runtime/watch-source.ts";
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
  const source = client.watches(kind, {});
  try {
    for (;;) {
      try {
        const { resourceVersion } = await source.list({ limit: 500, signal });
        const seen = await watched(source, resourceVersion, signal);
        if (seen !== undefined) return { name: seen.metadata.name, uid: seen.spec.nodeUID ?? "" };
      } catch (error) {
        // An API server that has just begun answers reads before watches.
        if (!isApiError(error, "TooManyRequests")) throw error;
      }
      await sleep(systemClock, 200, signal);
    }
  } finally {
    end.abort();
    await client.close();
  }
}

/** Undefined where the watch ends before. */
async function watched(
  source: WatchSource,
  resourceVersion: string,
  signal: AbortSignal,
): Promise<NodeUpdate | undefined> {
  for await (const { object } of source.watch({ resourceVersion, timeoutSeconds: 300, signal })) {
    const update = object as NodeUpdate;
    if (update.status?.grant?.phase === "Granting") return update;
  }
  return undefined;
}
