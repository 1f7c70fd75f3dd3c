/** A FleetLock client that is a Node of the cluster: the manager gives it its slot, and drains it before the answer. */
import type { Coordination, ForeignResult, RebootAsk } from "../../coordination/coordination.ts";
import type { Identity } from "../../coordination/records.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { FleetLockError } from "./wire.ts";

/** A Node that waits is looked at so often, ms. */
const LOOK = 2000;

/** Why the Node `name` may not ask in `group`; undefined where it may. */
export function refuseNode(
  name: string,
  node: NonNullable<Identity["node"]>,
  group: string,
): FleetLockError | undefined {
  if (node.group !== group) {
    return {
      ...{ status: 409, kind: "failed_lock_other_group" },
      value: `This is Node ${name}, which UpdateGroup ${node.group} selects: send that as the group.`,
    };
  }
  if (!node.agent) return undefined;
  return {
    ...{ status: 409, kind: "failed_lock_agent" },
    value: `Node ${name} runs Slipway's agent, which asks for its reboots: turn off the FleetLock client there.`,
  };
}

/** The slot of a drained Node, or after `hold` ms why not yet. Throws `EtcdUnavailable`. */
export async function awaitReboot(
  { coordination, clock }: { coordination: Pick<Coordination, "requestReboot">; clock: Clock },
  ask: RebootAsk,
  hold: number,
  gone: AbortSignal,
): Promise<ForeignResult> {
  const end = clock.monotonic() + hold;
  for (;;) {
    const result = await coordination.requestReboot(ask);
    const left = end - clock.monotonic();
    if (result.outcome !== "refused" || left <= 0 || gone.aborted) return result;
    if (!["WaitingForTurn", "Draining"].includes(result.why.reason)) return result;
    await sleep(clock, Math.min(LOOK, left), gone).catch(() => {});
  }
}
