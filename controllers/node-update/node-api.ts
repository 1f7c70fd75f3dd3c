/** The Node behind a NodeUpdate, in the API: read consistently, patched with what was read. */
import type { Resource } from "../../api/kind.ts";
import { REBOOT_ANNOTATION, REBOOT_IN_FREEZE_ANNOTATION } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import { nodeUpdate as kind, type NodeUpdate } from "../../api/node-update.ts";
import type { Logger } from "../../ports/log.ts";
import { isApiError, type KubeClient, type Patch } from "../../runtime/client.ts";
import { LEASES, type Lease, NODES, type Node } from "../../runtime/core.ts";
import { planUncordon } from "./cordon.ts";
import { planTaint } from "./taint.ts";

/** Namespace of the kubelets' Leases (k8s.io/api/core/v1: NamespaceNodeLease). */
const NODE_LEASES = "kube-node-lease";

const TAKEN_OFF = { [REBOOT_ANNOTATION]: null, [REBOOT_IN_FREEZE_ANNOTATION]: null };

export class NodeApi {
  readonly #client: KubeClient;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** The Node of that UID; undefined for a plain machine, and where it is gone. */
  async read({ spec }: NodeUpdate, signal: AbortSignal): Promise<Node | undefined> {
    const { nodeName, nodeUID } = spec;
    if (nodeName === undefined) return undefined;
    const get = this.#client.get<Node>(NODES, { name: nodeName }, { signal });
    const node = await unlessGone(get);
    return node?.metadata.uid === nodeUID ? node : undefined;
  }

  /** The Lease that the kubelet renews. */
  readLease(name: string, signal: AbortSignal): Promise<Lease | undefined> {
    return unlessGone(this.#client.get<Lease>(LEASES, { name, namespace: NODE_LEASES }, { signal }));
  }

  /** Patches the Node as `plan` says, from a fresh read; nothing if it is gone. */
  async patch(
    nodeUpdate: NodeUpdate,
    plan: (node: Node) => Patch | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const node = await this.read(nodeUpdate, signal);
    const patch = node === undefined ? undefined : plan(node);
    if (node === undefined || patch === undefined) return;
    await this.#client.patch(NODES, { name: node.metadata.name }, patch, { signal });
  }

  /** A courtesy to schedulers: where it fails, nothing else waits for it, and the next look tries again. */
  async taint(nodeUpdate: NodeUpdate, wanted: boolean, log: Logger, signal: AbortSignal): Promise<void> {
    try {
      await this.patch(nodeUpdate, (node) => planTaint(node, wanted), signal);
    } catch (error) {
      signal.throwIfAborted();
      log.error("can't change the taint of a node", error, { node: nodeUpdate.metadata.name });
    }
  }

  /** Moves a reboot that a person asked for on the Node to its NodeUpdate, which keeps its history. */
  async moveAsked(nodeUpdate: NodeUpdate, copy: Node | undefined, signal: AbortSignal): Promise<NodeUpdate> {
    if (copy?.metadata.annotations?.[REBOOT_ANNOTATION] === undefined) return nodeUpdate;
    // The copy may be older than our own last move.
    const node = await this.read(nodeUpdate, signal);
    const { [REBOOT_ANNOTATION]: asked, [REBOOT_IN_FREEZE_ANNOTATION]: inFreeze } =
      node?.metadata.annotations ?? {};
    if (node === undefined || asked === undefined) return nodeUpdate;
    // One that an earlier word left speaks for nobody else's.
    const annotations = { [REBOOT_ANNOTATION]: asked, [REBOOT_IN_FREEZE_ANNOTATION]: inFreeze ?? null };
    const next = await this.#annotate<NodeUpdate>(kind, nodeUpdate, annotations, signal);
    await this.#annotate(NODES, node, TAKEN_OFF, signal);
    return next;
  }

  /** Takes off the annotations of a reboot that was had. */
  async unask(nodeUpdate: NodeUpdate, signal: AbortSignal): Promise<void> {
    await this.#annotate(kind, nodeUpdate, TAKEN_OFF, signal);
  }

  /** `Conflict` if somebody changed the object since it was read. */
  #annotate<T extends KubeObject>(
    resource: Resource,
    { metadata }: KubeObject,
    annotations: Record<string, string | null>,
    signal: AbortSignal,
  ): Promise<T> {
    const { name, resourceVersion } = metadata;
    const patch = { type: "merge", body: { metadata: { resourceVersion, annotations } } } as const;
    return this.#client.patch<T>(resource, { name }, patch, { signal });
  }

  /** Undoes our cordon, whatever its token: call it when the node holds no grant, or its grant ends. */
  uncordon(nodeUpdate: NodeUpdate, signal: AbortSignal): Promise<void> {
    return this.patch(nodeUpdate, (node) => planUncordon(node, []), signal);
  }
}

async function unlessGone<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (isApiError(error, "NotFound")) return undefined;
    throw error;
  }
}

/** What changes whenever the kubelet gives a sign. */
export function heartbeatOf(node: Node | undefined, lease: Lease | undefined): string {
  const ready = node?.status?.conditions?.find(({ type }) => type === "Ready");
  return `${lease?.spec?.renewTime ?? ""} ${ready?.lastHeartbeatTime ?? ""}`;
}
