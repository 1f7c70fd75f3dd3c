/** Whether an installation works, as seen from inside the cluster: what `helm test` asks. */
import { connect } from "node:tls";
import { MANAGER_LEASE } from "../../api/labels.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { LEASES, type Lease } from "../../runtime/core.ts";

const LOOK_AGAIN = 2_000;
/** One TLS handshake, ms. */
const HANDSHAKE = 5_000;

export interface ProbeOptions {
  client: Pick<KubeClient, "get">;
  clock: Clock;
  log: Logger;
  namespace: string;
  gateway: { host: string; port: number };
  /** PEM: who may sign its certificate; read for each attempt. */
  ca: () => Promise<string>;
  /** Ms. */
  deadline: number;
}

/** Resolves once a gateway answers TLS and a manager leads; throws what is wrong at the deadline. */
export async function probe(options: ProbeOptions): Promise<void> {
  const { clock, log, deadline } = options;
  const end = clock.monotonic() + deadline;
  const checks: [string, () => Promise<string | undefined>][] = [
    ["a gateway answers", () => gatewayTrouble(options)],
    ["a manager leads", () => leaderTrouble(options)],
  ];
  for (const [what, trouble] of checks) {
    for (;;) {
      const wrong = await trouble();
      if (wrong === undefined) break;
      if (clock.monotonic() + LOOK_AGAIN > end) throw new Error(`${wrong} (${deadline / 1000} s)`);
      await sleep(clock, LOOK_AGAIN);
    }
    log.info("checked", { what });
  }
}

async function gatewayTrouble({ gateway, ca }: ProbeOptions): Promise<string | undefined> {
  const { host, port } = gateway;
  try {
    const trusted = await ca();
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host, port, ca: trusted, servername: host, ALPNProtocols: ["h2"] });
      socket.setTimeout(HANDSHAKE, () => socket.destroy(new Error(`no answer within ${HANDSHAKE / 1000} s`)));
      socket.once("error", reject);
      socket.once("secureConnect", () => {
        socket.destroy();
        resolve();
      });
    });
    return undefined;
  } catch (error) {
    return `no gateway answers at ${host}:${port}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A manager leads only after it has read from etcd, so this says that etcd answers too. */
async function leaderTrouble({ client, clock, namespace }: ProbeOptions): Promise<string | undefined> {
  try {
    const { spec } = await client.get<Lease>(LEASES, { name: MANAGER_LEASE, namespace });
    if (!spec?.holderIdentity || spec.renewTime === undefined)
      return `nobody holds the Lease ${MANAGER_LEASE}`;
    const age = clock.now() - Date.parse(spec.renewTime);
    if (age <= (spec.leaseDurationSeconds ?? 0) * 1000) return undefined;
    return `the Lease ${MANAGER_LEASE} of ${spec.holderIdentity} was renewed ${Math.round(age / 1000)} s ago`;
  } catch (error) {
    if (isApiError(error, "NotFound"))
      return `no manager has led yet: there is no Lease ${namespace}/${MANAGER_LEASE}`;
    return `the Lease ${MANAGER_LEASE} can't be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}
