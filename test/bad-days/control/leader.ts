/** Who leads, and what the processes wrote about it. */
import { readFileSync } from "node:fs";
import type { Service } from "../../../hack/cluster/service.ts";
import type { Plane } from "../../../hack/plane/plane.ts";
import type { Lease } from "../../../runtime/core.ts";

export interface LeaderLease {
  /** Name of the manager; "" where nobody leads. */
  holder: string;
  incarnation: string | undefined;
  /** Revision of etcd's pulse that it remembers. */
  pulse: number;
  /** How often the Lease changed hands. */
  transitions: number;
}

export async function leaderLease(plane: Plane): Promise<LeaderLease> {
  const args = ["get", "lease", "slipway-manager", "-n", "slipway-system", "-o", "json"];
  const lease = JSON.parse(await plane.kubectl(args)) as Lease;
  return {
    holder: lease.spec?.holderIdentity ?? "",
    incarnation: lease.metadata.annotations?.["slipway.dev/etcd-incarnation"],
    pulse: Number(lease.metadata.annotations?.["slipway.dev/etcd-pulse"] ?? 0),
    transitions: lease.spec?.leaseTransitions ?? 0,
  };
}

/** The manager that the Lease names. */
export function leaderOf(managers: readonly Service[], { holder }: LeaderLease): Service {
  const leader = managers.find(({ name }) => name === holder);
  if (leader === undefined) throw new Error(`the Lease is held by "${holder}", no manager of this cluster`);
  return leader;
}

/** What they wrote so far. */
export function logOf(services: readonly Service[]): string {
  return services.map(({ logFile }) => readFileSync(logFile, "utf8")).join("");
}
