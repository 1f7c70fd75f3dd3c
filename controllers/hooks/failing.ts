/** What a group says of its hooks that fail: on which nodes, how often, since when, and what comes next. */
import { type ConditionUpdate, timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import { backOffUntil } from "../grants/history.ts";

/** Nodes that a sentence names, and characters of what each hook said. */
const SHOWN = 3;
const CAUSE = 300;

interface Failing {
  node: string;
  times: number;
  text: string;
}

/** `target`: name of the group's release; undefined where it has none. `resumedAt`: failures up to then are forgiven; wall clock, ms. */
export function hooksFailing(
  nodeUpdates: readonly NodeUpdate[],
  target: string | undefined,
  resumedAt: number | undefined,
  now: number,
): ConditionUpdate {
  const type = "HooksFailing";
  const found = nodeUpdates
    .flatMap(({ metadata: { name }, status }) =>
      status === undefined
        ? []
        : (beforeReboot(name, status, now) ?? afterReboot(name, status, target, resumedAt) ?? []),
    )
    .toSorted((a, b) => b.times - a.times || (a.node < b.node ? -1 : 1));
  if (found.length === 0) {
    const message = "No hook keeps a node from its reboot, or failed after one.";
    return { type, status: "False", reason: "NoHookFailed", message };
  }
  const more = found.length > SHOWN ? ` And ${found.length - SHOWN} more.` : "";
  const each = found.slice(0, SHOWN).map(({ text }) => text);
  return {
    type,
    status: "True",
    reason: "HookFailed",
    message: `${each.join(" ")}${more} \`kubectl slipway why NODE\` says more; docs/hooks.md says what to look at.`,
  };
}

/** Slots given back since the last return: those between the first and the last are only counted. */
function beforeReboot(node: string, status: NodeUpdateStatus, now: number): Failing | undefined {
  const { givenBack, transitions = [] } = status;
  if (givenBack?.reason !== "HookFailed") return undefined;
  const returned = transitions.findIndex(({ step }) => step === "Verifying");
  const since = returned < 0 ? transitions : transitions.slice(0, returned);
  const told = since.filter(({ reason }) => reason === "HookFailed");
  const { times } = givenBack;
  const until = backOffUntil(status, now);
  const next = until === undefined ? "at its next turn" : `at ${timestamp(until)}`;
  const often = times === 1 ? "once" : `${times} times since its last reboot`;
  const first = told.at(-1)?.time ?? givenBack.time;
  const text = `${node} gave its slot back ${often}, for a hook since ${first}, and asks again ${next}. ${causeOf(told[0]?.message)}`;
  return { node, times, text };
}

function afterReboot(
  node: string,
  { failed = [], verifiedAt }: NodeUpdateStatus,
  target: string | undefined,
  resumedAt: number | undefined,
): Failing | undefined {
  const [last] = failed.toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time));
  if (last?.reason !== "HookFailed") return undefined;
  const at = Date.parse(last.time);
  const over = at <= Math.max(resumedAt ?? 0, verifiedAt === undefined ? 0 : Date.parse(verifiedAt));
  if (over || (last.release !== undefined && last.release !== target)) return undefined;
  const next =
    last.release === undefined
      ? "its next reboot asks the hooks again"
      : `${last.release} is not tried there again unless a person says so`;
  return { node, times: 1, text: `${node} failed at ${last.time}; ${next}. ${causeOf(last.message)}` };
}

function causeOf(message = "A hook failed before the reboot."): string {
  return message.length <= CAUSE ? message : `${message.slice(0, CAUSE)}...`;
}
