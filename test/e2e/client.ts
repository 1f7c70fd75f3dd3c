/**
 * A client outside of the cluster, as one behind a load balancer: it asks the Ready endpoints of a
 * Service in turn, tries nothing twice, and counts what fails.
 */
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { pause } from "../../hack/plane/wait.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { MemoryStore } from "../../runtime/memory-store.ts";
import { reflect } from "../../runtime/reflector.ts";
import { createRestClient } from "../../runtime/rest-client.ts";

const ENDPOINT_SLICES: Resource = {
  group: "discovery.k8s.io",
  version: "v1",
  kind: "EndpointSlice",
  plural: "endpointslices",
  namespaced: true,
};

interface EndpointSlice extends KubeObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean } }[];
  ports?: { port?: number }[];
}

/** Between two requests, ms. */
const INTERVAL = 50;
/** A request that takes longer has failed, ms: a loaded machine is slow. */
const PATIENCE = 30_000;

export class Client {
  /** Answers with status 200. */
  answered = 0;
  /** One line for each request that failed. */
  readonly failures: string[] = [];
  readonly #slices = new MemoryStore<EndpointSlice>();
  readonly #stop = new AbortController();
  #done: Promise<unknown> = Promise.resolve();
  #next = 0;

  /** Asks without a pause for breath, until `stop`. `service` lies in the namespace default. */
  start(kubeconfig: string, service: string): void {
    this.#done = this.#run(kubeconfig, service);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(kubeconfig: string, service: string): Promise<void> {
    const { signal } = this.#stop;
    const common = { clock: systemClock, random: systemRandom, log: silentLogger };
    const api = createRestClient(loadKubeConfig(kubeconfig), { ...common, userAgent: "client" });
    const source = api.watches(ENDPOINT_SLICES, {
      labelSelector: `kubernetes.io/service-name=${service}`,
    });
    const watching = reflect({ ...common, source, store: this.#slices }, signal);
    while (!signal.aborted) {
      if (this.#slices.synced) await this.#ask();
      await pause(INTERVAL);
    }
    await watching;
    await api.close();
  }

  async #ask(): Promise<void> {
    const ready = this.#slices
      .list()
      .flatMap(({ endpoints = [], ports }) =>
        endpoints
          .filter(({ conditions }) => conditions?.ready === true)
          .flatMap(({ addresses }) => addresses.map((address) => `${address}:${ports?.[0]?.port}`)),
      );
    const time = new Date().toISOString();
    const endpoint = ready[this.#next++ % ready.length];
    if (endpoint === undefined) {
      this.failures.push(`${time} no endpoint is Ready`);
      return;
    }
    try {
      const answer = await fetch(`http://${endpoint}/`, { signal: AbortSignal.timeout(PATIENCE) });
      await answer.text();
      if (answer.status === 200) this.answered += 1;
      else this.failures.push(`${time} ${endpoint}: ${answer.status}`);
    } catch (error) {
      const { cause = error } = error as { cause?: unknown };
      this.failures.push(`${time} ${endpoint}: ${String(cause)}`);
    }
  }
}
