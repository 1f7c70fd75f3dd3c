/** A machine that runs no agent of ours and asks by FleetLock before it reboots, as Zincati does. For tests. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Cluster } from "../../../hack/cluster/cluster.ts";
import type { Outage } from "../../../hack/cluster/observer.ts";
import { MachineCredentials, parseKeys } from "../../../pki/machine-credentials.ts";

interface Reply {
  status: number;
  kind: string;
  value: string;
}

export class FleetLockClient {
  readonly id: string;
  readonly #cluster: Cluster;
  readonly #group: string;
  readonly #secret: string;
  readonly outages: Outage[] = [];

  /** `id`: one of its own if absent. */
  constructor(
    cluster: Cluster,
    group: string,
    name: string,
    id = createHash("sha256").update(name).digest("hex").slice(0, 32),
  ) {
    this.id = id;
    this.#cluster = cluster;
    this.#group = group;
    const keys = parseKeys(readFileSync(cluster.machineKeys, "utf8"));
    this.#secret = new MachineCredentials(keys).secret(group) ?? "";
  }

  /** `gateway`: which of them is asked. Rejects where it does not answer. */
  async call(call: "pre-reboot" | "steady-state", gateway = 0): Promise<Reply> {
    const url = `${this.#cluster.edges[gateway]}/fleetlock/${this.#secret}/v1/${call}`;
    const response = await fetch(url, {
      method: "POST",
      headers: { "fleet-lock-protocol": "true" },
      body: JSON.stringify({ client_params: { id: this.id, group: this.#group } }),
      signal: AbortSignal.timeout(60_000),
    });
    const { kind = "", value = "" } = (await response.json()) as Partial<Reply>;
    return { status: response.status, kind, value };
  }

  /** Asks until it may, is down for `milliseconds`, and reports until it is heard. Each gateway in its turn. */
  async reboot(milliseconds: number): Promise<void> {
    await this.#until("pre-reboot");
    const from = Date.now();
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    this.outages.push({ machine: this.id, zone: "outside", from, to: Date.now(), cause: "reboot" });
    await this.#until("steady-state");
  }

  async #until(call: "pre-reboot" | "steady-state"): Promise<void> {
    const end = Date.now() + 170_000;
    let last: unknown;
    for (let turn = 0; Date.now() < end; turn++) {
      try {
        const reply = await this.call(call, turn % this.#cluster.edges.length);
        if (reply.status === 200) return;
        last = reply;
      } catch (error) {
        last = error;
      }
      // A client asks again by its own clock.
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    throw new Error(
      `${this.id}: ${call} was never answered with yes: ${JSON.stringify(last)} ${String(last)}`,
    );
  }
}
