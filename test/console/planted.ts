/**
 * Thousands of machines at once, written where the API server keeps them: by its API they would take a minute. From
 * there on they are read as all others, by its watch.
 */
import { Agent, request } from "node:http";
import { GROUP_LABEL } from "../../api/labels.ts";
import { API_VERSION, timestamp } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { layout } from "../../hack/plane/components.ts";
import type { Plane } from "../../hack/plane/plane.ts";
import { nameOf, sideBySide, statusOf, toldOf } from "./fleet.ts";

const DEADLINE = 20_000;
/** Machines after which their steps begin anew. */
const REPEATED = 50;

/** `count` workers from the index `from`; of every fifty the steps are those of `toldOf(0)` to `toldOf(49)`. */
export async function plantWorkers(plane: Plane, group: string, from: number, count: number): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  const socketPath = layout(plane.directory).etcdSocket;
  await sideBySide(count, async (index) => await put(agent, socketPath, workerOf(group, from + index)));
  agent.destroy();
}

function workerOf(group: string, index: number) {
  const name = nameOf(index);
  const uid = `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
  const creationTimestamp = timestamp(Date.now());
  return {
    ...{ apiVersion: API_VERSION, kind: nodeUpdate.kind },
    metadata: { name, uid, creationTimestamp, generation: 1, labels: { [GROUP_LABEL]: group } },
    spec: { nodeName: name, nodeUID: `uid-${name}`, group, release: "harbor-1.1.0" },
    status: statusOf(index, toldOf(index % REPEATED)),
  };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/**
 * By etcd's JSON gateway. Each object has a write of its own: those of one transaction would have one resourceVersion,
 * of which a watch tells the first.
 */
async function put(agent: Agent, socketPath: string, object: { metadata: { name: string } }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const asked = request({
    ...{ agent, socketPath, path: "/v3/kv/put", method: "POST" },
    ...{ headers: { host: "etcd", "content-type": "application/json" } },
    signal: AbortSignal.timeout(DEADLINE),
  });
  asked.once("response", (response) => {
    response.resume();
    response.once("end", () => resolve(response.statusCode));
  });
  asked.once("error", reject);
  const key = `/registry/${nodeUpdate.group}/${nodeUpdate.plural}/${object.metadata.name}`;
  asked.end(JSON.stringify({ key: base64(key), value: base64(JSON.stringify(object)) }));
  const status = await promise;
  if (status !== 200) throw new Error(`etcd answered a write of ${key} with status ${status}`);
}
