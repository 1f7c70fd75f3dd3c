/** What `doctor` looks at. A list that may not be read is the sentence that the API server refused it with. */
import type { Crd } from "../../api/crd-fields.ts";
import type { Resource } from "../../api/kind.ts";
import { kinds } from "../../api/kinds.ts";
import { MANAGER_LEASE } from "../../api/labels.ts";
import type { Declared } from "../../api/meta.ts";
import { GROUP, type KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { isApiError, type KubeClient, type ListOptions } from "../../runtime/client.ts";
import {
  CRDS,
  DAEMON_SETS,
  DEPLOYMENTS,
  EVENTS,
  LEASES,
  type Lease,
  NODES,
  type Node,
  PODS,
  type Pod,
  SECRETS,
  type Secret,
} from "../../runtime/core.ts";

export interface Workload extends KubeObject {
  spec?: { template?: { spec?: { containers?: { name: string; image: string }[] } } };
  status?: {
    desiredNumberScheduled?: number;
    numberReady?: number;
    replicas?: number;
    readyReplicas?: number;
  };
}

/** As far as it is read. */
export interface Event extends KubeObject {
  reason?: string;
  note?: string;
  eventTime?: string;
  series?: { lastObservedTime?: string };
  reportingInstance?: string;
}

export type Read<T> = readonly T[] | string;

export interface DoctorFacts {
  /** Namespace that Slipway was found in, or that was named. */
  namespace: string;
  crds: Read<Crd>;
  lease: Read<Lease>;
  nodes: Read<Node>;
  /** Of Slipway's namespace. */
  pods: Read<Pod>;
  secrets: Read<Secret>;
  /** Of Slipway's namespace: what managers said of etcd. */
  etcdEvents: Read<Event>;
  /** Of all namespaces. */
  daemonSets: Read<Workload>;
  deployments: Read<Workload>;
  /** Our own objects; empty where the CRDs are missing. */
  nodeUpdates: Read<NodeUpdate>;
  declared: Read<Declared<unknown, { conditions?: Condition[] }>>;
}

type Condition = { type: string; status: string; reason: string; message: string };

/** Where Slipway is installed unless somebody says otherwise. */
const USUAL_NAMESPACE = "slipway-system";

export async function readFacts(
  client: Pick<KubeClient, "list">,
  wanted: string | undefined,
): Promise<DoctorFacts> {
  const list = async <T extends KubeObject>(
    resource: Resource,
    options: ListOptions = {},
  ): Promise<Read<T>> => {
    try {
      return (await client.list<T>(resource, options)).items;
    } catch (error) {
      if (isApiError(error, "Forbidden", "NotFound")) return error.message;
      throw error;
    }
  };
  const lease = await list<Lease>(LEASES, {
    fieldSelector: `metadata.name=${MANAGER_LEASE}`,
    ...(wanted === undefined ? {} : { namespace: wanted }),
  });
  const found = typeof lease === "string" ? undefined : lease[0]?.metadata.namespace;
  const namespace = wanted ?? found ?? USUAL_NAMESPACE;
  const [crds, nodes, pods, secrets, etcdEvents, daemonSets, deployments, ...ours] = await Promise.all([
    list<Crd>(CRDS),
    list<Node>(NODES),
    list<Pod>(PODS, { namespace }),
    list<Secret>(SECRETS, { namespace }),
    list<Event>(EVENTS, { namespace, fieldSelector: "reason=EtcdUnavailable" }),
    list<Workload>(DAEMON_SETS),
    list<Workload>(DEPLOYMENTS),
    ...kinds.map((kind) => list<Declared<unknown, { conditions?: Condition[] }>>(kind)),
  ]);
  const readable = ours.filter((each) => typeof each !== "string").flat();
  return {
    namespace,
    crds:
      typeof crds === "string"
        ? crds
        : crds.filter(
            ({ spec }) =>
              spec.group === GROUP ||
              spec.names.kind === "BottlerocketShadow" ||
              spec.group === "upgrade.cattle.io",
          ),
    lease,
    nodes,
    pods,
    secrets,
    etcdEvents,
    daemonSets,
    deployments,
    nodeUpdates: readable.filter(({ kind }) => kind === "NodeUpdate") as unknown as NodeUpdate[],
    declared: readable.filter(({ kind }) => kind !== "NodeUpdate"),
  };
}
