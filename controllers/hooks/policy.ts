/**
 * What the hooks of a grant come to: one after the other, each with a deadline and a failure that
 * means something. What ran stands in the status of the grant, so that another manager goes on from there.
 */
import { parseDuration } from "../../api/duration.ts";
import type { Hook, HookPhase, HookRun, Hooks } from "../../api/hook.ts";
import { timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";

/** Characters of a run's message that the status keeps. */
const KEPT = 1024;

/** What is known of the hook that runs. */
export type Answer =
  /** Nobody was asked under this grant yet, or what was made for it is gone. */
  | { kind: "unasked" }
  /** It says that it is not done. */
  | { kind: "pending"; message: string }
  /** It can't be asked, or says nothing that can be understood. */
  | { kind: "silent"; cause: string }
  | { kind: "done" }
  | { kind: "failed"; cause: string };

export interface HooksView {
  group: string;
  phase: HookPhase;
  hooks: readonly Hook[];
  /** All runs of this grant, of both phases. */
  runs: readonly HookRun[];
  /** Of the run that is Running; undefined where it was not looked for. */
  answer: Answer | undefined;
  /** Milliseconds of that run that count against its timeout. */
  elapsed: number;
  /** Wall clock, ms. */
  now: number;
}

export type HooksDecision =
  /** Nothing is left to wait for. */
  | { is: "over" }
  /** One failed, and that ends the grant's way. */
  | { is: "stopped"; why: Why }
  /** `begin`: ask it; may be repeated. `end`: take back what asked. Either follows the write of `runs`. */
  | { is: "running"; runs: readonly HookRun[]; act: "begin" | "end" | "wait"; hook: Hook; why: Why };

export function decideHooks(view: HooksView): HooksDecision {
  const { hooks, phase, runs, now } = view;
  for (const hook of hooks) {
    const run = runOf(runs, phase, hook.name);
    if (run === undefined) {
      const begun: HookRun = { phase, name: hook.name, state: "Running", since: timestamp(now) };
      return { is: "running", runs: [...runs, begun], act: "begin", hook, why: waits(view, hook, "") };
    }
    if (run.state === "Running") return running(view, hook, run);
    if (run.state === "Failed" && hook.onFailure === "Stop")
      return { is: "stopped", why: failed(view, hook, run.message ?? "it gave no cause") };
  }
  return { is: "over" };
}

function running(view: HooksView, hook: Hook, run: HookRun): HooksDecision {
  const { runs, answer, elapsed, now } = view;
  const end = (state: "Done" | "Failed", cause?: string): HooksDecision => {
    const ended: HookRun = {
      ...run,
      state,
      until: timestamp(now),
      ...(cause === undefined ? {} : { message: cause.slice(0, KEPT) }),
    };
    const why = cause === undefined ? waits(view, hook, " is done") : failed(view, hook, cause);
    return { is: "running", runs: runs.map((each) => (each === run ? ended : each)), act: "end", hook, why };
  };
  if (answer?.kind === "done") return end("Done");
  if (answer?.kind === "failed") return end("Failed", answer.cause);
  const said = saidBy(answer);
  // An answer that is there counts however late it is looked for; what was not looked for is not late.
  if (answer !== undefined && elapsed >= parseDuration(hook.timeout)) {
    return end("Failed", `it was not done within ${hook.timeout}${said === "" ? "" : `: ${said}`}`);
  }
  const act = answer?.kind === "unasked" ? "begin" : "wait";
  return { is: "running", runs, act, hook, why: waits(view, hook, said === "" ? "" : `: ${said}`) };
}

function saidBy(answer: Answer | undefined): string {
  if (answer?.kind === "pending") return answer.message;
  return answer?.kind === "silent" ? `it gives no answer (${answer.cause})` : "";
}

function waits({ group, phase }: HooksView, hook: Hook, said: string): Why {
  const when = phase === "Before" ? "before the reboot" : "after the reboot";
  const what = said === " is done" ? `${when}${said}` : `runs ${when}${said}`;
  return { reason: "HookRunning", message: sentence(`Hook ${hook.name} of UpdateGroup ${group} ${what}`) };
}

function failed({ group, phase }: HooksView, hook: Hook, cause: string): Why {
  const next = hook.onFailure === "Continue" ? "; it goes on without, as onFailure is Continue" : "";
  const when = phase === "Before" ? "before the reboot" : "after the reboot";
  const who = `Hook ${hook.name} of UpdateGroup ${group} failed ${when}`;
  return { reason: "HookFailed", message: sentence(`${who}${next}: ${cause}`) };
}

function sentence(text: string): string {
  return `${text.replace(/[.\s]+$/, "")}.`;
}

function runOf(runs: readonly HookRun[], phase: HookPhase, name: string): HookRun | undefined {
  return runs.find((run) => run.phase === phase && run.name === name);
}

/** The run that nobody has ended, of either phase. */
export function runningOf(runs: readonly HookRun[] | undefined): HookRun | undefined {
  return runs?.find(({ state }) => state === "Running");
}

export function hasBegun(runs: readonly HookRun[] | undefined, phase: HookPhase): boolean {
  return runs?.some((run) => run.phase === phase) === true;
}

/** Whether each hook of a phase ran and was ended, well or not. */
export function areEnded(
  hooks: readonly Hook[],
  runs: readonly HookRun[] | undefined,
  phase: HookPhase,
): boolean {
  const states = hooks.map(({ name }) => runOf(runs ?? [], phase, name)?.state);
  return states.every((state) => state === "Done" || state === "Failed");
}

export function hooksOf(hooks: Hooks | undefined, phase: HookPhase): readonly Hook[] {
  return (phase === "Before" ? hooks?.before : hooks?.after) ?? [];
}

/** The most that the hooks of a phase may take together, ms. */
export function hookNeeds(hooks: Hooks | undefined, phase: HookPhase): number {
  return hooksOf(hooks, phase).reduce((sum, { timeout }) => sum + parseDuration(timeout), 0);
}
