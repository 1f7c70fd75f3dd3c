/** Machines without our agent, of which no NodeUpdate tells: what the gateways know of them, in etcd. */

import type * as view from "../../console/contract.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";

export interface ForeignShown {
  uid: string;
  name: string;
  group: string;
  zone: string;
  version: string;
  target: string;
  state: view.Machine["state"];
  reason: string;
  message: string;
  /** Wall clock, ms: of its state. */
  since: number | undefined;
  lastSeen: number | undefined;
  slot: boolean;
  budgets: readonly string[];
  protocol: string;
  failed: readonly { release: string; reason: string; message: string; at: number }[];
}

/** Those that hold a slot: all that a read of the fleet has of them. */
export function holdersIn({ grants }: Pick<FleetSnapshot, "grants">): ForeignShown[] {
  return [...grants.values()].flatMap(({ grant, phase }) => {
    if (grant.foreign === undefined) return [];
    const { protocol } = grant.foreign;
    return {
      ...{ uid: grant.uid, name: grant.node, group: grant.group, zone: "", version: "" },
      ...{ target: "", state: "Rebooting" as const, reason: phase.reason ?? "", slot: true },
      message: `It holds a slot, which it asked for by ${protocol}.`,
      ...{ since: grant.at, lastSeen: undefined, budgets: grant.budgets, protocol, failed: [] },
    };
  });
}
