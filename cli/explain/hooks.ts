/** A node that waits for a hook of its group, or of which one failed. */
import { parseDuration } from "../../api/duration.ts";
import type { Hook, HookRun } from "../../api/hook.ts";
import type { FrozenPolicy } from "../../api/node-update.ts";
import { type Advice, advise, commands, type Finding, finding } from "./finding.ts";
import type { Subject } from "./subject.ts";
import { clause, when } from "./words.ts";

/** Undefined where the manager speaks of no hook, or of one that ends the slot. `now`: wall clock, ms. */
export function hooked({ name, update }: Subject, now: number): Finding | undefined {
  const { reason, message = "", grant } = update?.status ?? {};
  if (reason !== "HookRunning" && reason !== "HookFailed") return undefined;
  const run = grant?.hooks?.findLast(({ state }) => reason === "HookRunning" || state === "Failed");
  const hook = hookOf(run, grant?.policy);
  if (run === undefined || hook === undefined) return undefined;
  const before = run.phase === "Before";
  const group = update?.spec.group ?? "";
  const edit = commands.editGroup(group, "spec.hooks: its timeouts and onFailure bind the next slot");
  if (reason === "HookFailed") {
    // One that stops ends the slot, which is told as such an end.
    if (hook.onFailure === "Stop") return undefined;
    const then = before ? "goes on to its reboot" : "is being freed";
    return finding(reason, `${then} although a hook failed: ${clause(message)}`, ...asked(hook, name), edit);
  }
  const does = before ? "is drained and waits for a hook" : "is back from its reboot and waits for a hook";
  return finding(
    reason,
    `${does}: ${clause(message)}${ends(hook, run, now)}`,
    ...asked(hook, name),
    ...(before
      ? [
          advise(
            `kubectl slipway node hold ${name} --reason "..."`,
            "gives the slot back and keeps the node out",
          ),
        ]
      : []),
    edit,
  );
}

function hookOf(run: HookRun | undefined, policy: FrozenPolicy | undefined): Hook | undefined {
  const hooks = run?.phase === "Before" ? policy?.hooks?.before : policy?.hooks?.after;
  return hooks?.find(({ name }) => name === run?.name);
}

/** After the reboot only the time counts in which a manager could ask, and no status tells that. */
function ends({ timeout, onFailure }: Hook, { phase, since }: HookRun, now: number): string {
  if (phase === "After") {
    const then = onFailure === "Stop" ? "the node counts as failed" : "it goes on without";
    return `; after ${timeout} in which it could be asked ${then}`;
  }
  const then = onFailure === "Stop" ? "the slot is given back" : "it goes on without";
  return `; ${then} at ${when(Date.parse(since) + parseDuration(timeout), now)}`;
}

/** What shows how far it is. */
function asked({ label, job }: Hook, node: string): Advice[] {
  if (label !== undefined)
    return [
      advise(
        `kubectl get pods -A -o wide --field-selector spec.nodeName=${node}`,
        `finds the Pod that has to annotate the Node with ${label.answers.join(", ")}`,
      ),
    ];
  if (job !== undefined)
    return [
      advise(
        `kubectl get jobs,pods --namespace ${job.namespace}`,
        "finds its Job; `kubectl logs` says what that does",
      ),
    ];
  return [];
}
