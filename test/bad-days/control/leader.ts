/** Who leads, and what the processes wrote about it. */
import { readFileSync } from "node:fs";
import type { Service } from "../../../hack/cluster/service.ts";
import type { Plane } from "../../../hack/plane/plane.ts";
import type { Lease } from "../../../runtime/core.ts";

export interface LeaderLease {
  /** Name of the manager; "" where nobody leads. */
  holder: string;
  incarnation: string | undefined;
}

export async function leaderLease(plane: Plane): Promise<LeaderLease> {
  const args = ["get", "lease", "slipway-manager", "-n", "slipway-system", "-o", "json"];
  const lease = JSON.parse(await plane.kubectl(args)) as Lease;
  return {
    holder: lease.spec?.holderIdentity ?? "",
    incarnation: lease.metadata.annotations?.["slipway.dev/etcd-incarnation"],
  };
}

/** What they wrote so far. */
export function logOf(services: readonly Service[]): string {
  return services.map(({ logFile }) => readFileSync(logFile, "utf8")).join("");
}
