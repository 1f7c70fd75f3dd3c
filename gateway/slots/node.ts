/**
 * A client that is a Node of the cluster: the manager gives it its slot, in the Node's own budgets, and drains it before
 * the client hears yes.
 */
import type {
  Coordination,
  ForeignFreed,
  ForeignResult,
  RebootAsk,
} from "../../coordination/coordination.ts";
import type { Identity, Protocol } from "../../coordination/records.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { SlotLine } from "./line.ts";

/** A Node that waits is looked at so often, ms. */
const LOOK = 2000;

interface NodeRefusal {
  kind: "other_group" | "agent";
  /** For people. */
  message: string;
}

/** Why the Node `name` may not ask in `group`; undefined where it may. `client`: what asks there, for people. */
export function refuseNode(
  name: string,
  node: NonNullable<Identity["node"]>,
  group: string,
  client: string,
): NodeRefusal | undefined {
  if (node.group !== group) {
    const message = `This is Node ${name}, which UpdateGroup ${node.group} selects: it has to ask in that group.`;
    return { kind: "other_group", message };
  }
  if (!node.agent) return undefined;
  const message = `Node ${name} runs Slipway's agent, which asks for its reboots: turn off ${client} there.`;
  return { kind: "agent", message };
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

/**
 * What the client `id` gives back, whose identity is known: a Node's slot, or what it took as a machine, perhaps before
 * anybody knew that it is a Node. Throws `EtcdUnavailable`.
 */
export async function giveBack(
  { coordination, line }: { coordination: Pick<Coordination, "endReboot">; line: Pick<SlotLine, "free"> },
  { uid, node }: Identity,
  id: string,
  group: string,
  protocol: Protocol,
): Promise<ForeignFreed> {
  const ended = node === undefined ? "none" : await coordination.endReboot(uid, group, protocol, node.agent);
  return ended === "freed" ? ended : await line.free(uid, group, protocol, id);
}
