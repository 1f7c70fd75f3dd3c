/**
 * The part of a kubelet that the control plane sees: registration, status with boot id and
 * OS image, the Node's Lease, and the agent Pod's token. kwok plays the Pods.
 */
import type { Resource } from "../../api/kind.ts";
import { type KubeObject, timestamp } from "../../api/meta.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { LEASES, type Lease, NODES, type Node, PODS, type Pod } from "../../runtime/core.ts";
import { PLAYED_LABEL } from "../plane/components.ts";

/** Half of the shortest grace period that the local control plane uses would be 4 s: stay well below. */
const RENEW_EVERY = 1_500;
const LEASE_SECONDS = 4;
/** A boot waits no longer for a control plane that does not answer. */
const TOKEN_WITHIN = 2_000;
/** A token's shortest life that the API server grants is 10 minutes. */
const TOKEN_SECONDS = 3_600;

export const AGENT_NAMESPACE = "slipway-system";
export const AGENT_SERVICE_ACCOUNT = "slipway-agent";
export const AUDIENCE = "slipway";

export interface Booted {
  bootId: string;
  version: string;
}

export class Kubelet {
  readonly #client: KubeClient;
  readonly #name: string;
  readonly #zone: string;
  readonly #machineId: string;
  readonly #labels: Record<string, string>;
  #timer: NodeJS.Timeout | undefined;
  #generation = 0;

  constructor(
    client: KubeClient,
    options: { name: string; zone: string; machineId: string; labels: Record<string, string> },
  ) {
    this.#client = client;
    this.#name = options.name;
    this.#zone = options.zone;
    this.#machineId = options.machineId;
    this.#labels = options.labels;
  }

  /** Registers the Node and keeps its status and Lease current until `stop`. Errors are tried again, as a kubelet does. */
  start(booted: Booted): void {
    this.stop();
    this.#registered = false;
    const generation = ++this.#generation;
    const since = Date.now();
    const tick = async (): Promise<void> => {
      try {
        await this.#register();
        await this.#status(booted, since);
        await this.#renew();
      } catch {
        // The API server is away: the next tick tries again.
      }
      if (generation === this.#generation) this.#timer = setTimeout(() => void tick(), RENEW_EVERY);
    };
    void tick();
  }

  stop(): void {
    this.#generation += 1;
    clearTimeout(this.#timer);
  }

  /** Deletes the agent's Pod on this Node, as somebody does: its token is worth nothing from then on, and its DaemonSet makes another. */
  async deleteAgentPod(): Promise<void> {
    const pod = await this.#agentPod(AbortSignal.timeout(TOKEN_WITHIN));
    if (pod === undefined) return;
    const { name, uid } = pod.metadata;
    await this.#client.delete(PODS, { name, namespace: AGENT_NAMESPACE }, uid === undefined ? {} : { uid });
  }

  async #agentPod(signal: AbortSignal): Promise<Pod | undefined> {
    const { items } = await this.#client.list<Pod>(PODS, {
      namespace: AGENT_NAMESPACE,
      fieldSelector: `spec.nodeName=${this.#name}`,
      labelSelector: "app.kubernetes.io/name=slipway-agent",
      signal,
    });
    return items.find((item) => item.metadata.deletionTimestamp === undefined);
  }

  /** A token for the agent, bound to its DaemonSet's Pod on this Node; undefined while there is no such Pod. */
  async agentToken(): Promise<string | undefined> {
    const signal = AbortSignal.timeout(TOKEN_WITHIN);
    const pod = await this.#agentPod(signal);
    if (pod === undefined) return undefined;
    const request: Resource = {
      group: "",
      version: "v1",
      kind: "TokenRequest",
      plural: `serviceaccounts/${AGENT_SERVICE_ACCOUNT}/token`,
      namespaced: true,
    };
    const answer = await this.#client.create<KubeObject & { spec: object; status?: { token: string } }>(
      request,
      {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        metadata: { name: AGENT_SERVICE_ACCOUNT, namespace: AGENT_NAMESPACE },
        spec: {
          audiences: [AUDIENCE],
          expirationSeconds: TOKEN_SECONDS,
          boundObjectRef: { apiVersion: "v1", kind: "Pod", name: pod.metadata.name, uid: pod.metadata.uid },
        },
      },
      { signal },
    );
    return answer.status?.token;
  }

  #registered = false;

  async #register(): Promise<void> {
    if (this.#registered) return;
    try {
      await this.#client.create<Node>(NODES, {
        apiVersion: "v1",
        kind: "Node",
        metadata: {
          name: this.#name,
          labels: {
            "kubernetes.io/hostname": this.#name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": this.#zone,
            [PLAYED_LABEL]: "",
            ...this.#labels,
          },
        },
      });
    } catch (error) {
      if (!isApiError(error, "AlreadyExists", "Conflict")) throw error;
    }
    this.#registered = true;
  }

  async #status({ bootId, version }: Booted, since: number): Promise<void> {
    const now = timestamp(Date.now());
    const condition = (type: string, status: string, reason: string) => ({
      type,
      status,
      reason,
      message: reason,
      lastHeartbeatTime: now,
      lastTransitionTime: timestamp(since),
    });
    const amounts = { cpu: "8", memory: "16Gi", pods: "110" };
    try {
      await this.#client.patch<Node>(
        NODES,
        { name: this.#name },
        {
          type: "merge",
          body: {
            status: {
              capacity: amounts,
              allocatable: amounts,
              addresses: [{ type: "Hostname", address: this.#name }],
              conditions: [
                condition("Ready", "True", "KubeletReady"),
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
              ],
              nodeInfo: {
                bootID: bootId,
                machineID: this.#machineId,
                systemUUID: this.#machineId,
                osImage: `Harbor ${version}`,
                kernelVersion: "6.18.0",
                containerRuntimeVersion: "containerd://2.4.2",
                kubeletVersion: "v1.37.2",
                kubeProxyVersion: "",
                operatingSystem: "linux",
                architecture: "amd64",
              },
            },
          },
        },
        { subresource: "status" },
      );
    } catch (error) {
      // Deleted behind our back: a kubelet registers only when it starts.
      if (!isApiError(error, "NotFound")) throw error;
    }
  }

  async #renew(): Promise<void> {
    const key = { name: this.#name, namespace: "kube-node-lease" };
    const renewTime = new Date().toISOString().replace("Z", "000Z");
    const spec = { holderIdentity: this.#name, leaseDurationSeconds: LEASE_SECONDS, renewTime };
    try {
      await this.#client.patch<Lease>(LEASES, key, { type: "merge", body: { spec } });
    } catch (error) {
      if (!isApiError(error, "NotFound")) throw error;
      await this.#client.create<Lease>(LEASES, {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: key,
        spec,
      });
    }
  }
}
