/** One run of a hook: what is asked, for whom, and under which grant. */
import type { Hook, HookPhase, HookRun } from "../../api/hook.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Token } from "../../coordination/records.ts";
import type { Node } from "../../runtime/core.ts";
import { type NodeView, nameOf, policyOf } from "../node-update/decision.ts";
import { hooksOf } from "./policy.ts";
import { runKey } from "./run-name.ts";

export interface Asker {
  hook: Hook;
  phase: HookPhase;
  nodeUpdate: NodeUpdate;
  /** Undefined for a plain machine. */
  node: Node | undefined;
  group: string;
  /** "" where the machine only reboots. */
  release: string;
  /** Nonce of the grant: the same to every manager, and another one for each grant. */
  grant: string;
  token: Token;
}

export function keyOfRun({ grant, phase, hook }: Asker): string {
  return runKey(grant, phase, hook.name);
}

/** What a hook is told, as the body of a call or as a Job's environment. */
export function toldOf({ hook, phase, nodeUpdate, group, release, grant }: Asker) {
  return { node: nodeUpdate.metadata.name, group, release, hook: hook.name, phase, grant };
}

export function askerOf(view: NodeView, live: LiveGrant, hook: Hook, phase: HookPhase): Asker {
  const { nodeUpdate, node } = view;
  const { group, release } = live.grant;
  return { hook, phase, nodeUpdate, node, group, release, grant: nameOf(live), token: live.token };
}

/** The run that is to be looked at: of the phase in which its grant is. */
export function runningAsker(view: NodeView): Asker | undefined {
  const { live } = view;
  const phase = live?.phase.phase === "Granted" ? "Before" : "After";
  if (live === undefined || (phase === "After" && live.phase.phase !== "Returned")) return undefined;
  return askersOf(view, live, "Running").find((asker) => asker.phase === phase);
}

/** Runs with a Job that is not known to be done: it must not outlive the grant. */
export function unfinishedJobs(view: NodeView, live: LiveGrant): Asker[] {
  const left = [...askersOf(view, live, "Running"), ...askersOf(view, live, "Failed")];
  return left.filter(({ hook }) => hook.job !== undefined);
}

function askersOf(view: NodeView, live: LiveGrant, state: HookRun["state"]): Asker[] {
  const { grant } = view.nodeUpdate.status ?? {};
  if (grant?.nonce !== live.grant.nonce) return [];
  const { hooks } = policyOf(view);
  return (grant.hooks ?? []).flatMap((run) => {
    const hook = hooksOf(hooks, run.phase).find(({ name }) => name === run.name);
    return run.state !== state || hook === undefined ? [] : [askerOf(view, live, hook, run.phase)];
  });
}
