/** What of a group's new status is worth an event. */
import type { Why } from "../../api/reasons.ts";
import type { UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import type { Progress } from "./stage.ts";

export interface RolloutEvent {
  why: Why;
  /** What was done, an UpperCamelCase verb. */
  action: string;
}

export function eventsOf(
  group: UpdateGroup,
  status: UpdateGroupStatus,
  progress: Progress,
  resumed: boolean,
): RolloutEvent[] {
  const events: RolloutEvent[] = [];
  if (resumed) {
    const message = `Failures up to now are forgotten, by the word "${status.resumed ?? ""}".`;
    events.push({ why: { reason: "NotHalted", message }, action: "Resume" });
  }
  for (const name of progress.news) {
    const message = `Stage ${name} of ${status.target ?? ""} opened.`;
    events.push({ why: { reason: "RollingOut", message }, action: "OpenStage" });
  }
  for (const { type, reason, message } of status.conditions ?? []) {
    const before = group.status?.conditions?.find((condition) => condition.type === type);
    if (before?.reason === reason || (before === undefined && !NEWS.has(reason))) continue;
    const action = ACTIONS[type];
    if (action !== undefined) events.push({ why: { reason: reason as Why["reason"], message }, action });
  }
  return events;
}

/** Conditions whose change of reason is worth an event, and what was done. */
const ACTIONS: Record<string, string> = {
  Halted: "Halt",
  Conflict: "Select",
  OtherCoordinator: "Watch",
  HooksFailing: "RunHooks",
  Progressing: "RollOut",
};
/** Reasons that are news on an object that had no condition. */
const NEWS: ReadonlySet<string> = new Set([
  "FailureThresholdReached",
  "SelectedTwice",
  "OtherCoordinator",
  "HookFailed",
]);
