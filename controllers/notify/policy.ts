/** What a change of a group or of a node is worth telling, and when a call that failed is tried again. */

import type { NodeUpdate } from "../../api/node-update.ts";
import type { NotificationEvent } from "../../api/notification.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

export interface Notice {
  event: NotificationEvent;
  group: string;
  /** What makes it this one and no other, the same for every manager that sees it. */
  key: readonly string[];
  /** "" where the group has no target. */
  release: string;
  node?: string;
  stage?: string;
  reason: string;
  message: string;
}

type Of<T> = T extends { status?: infer S } ? NonNullable<S> : never;
type Condition = NonNullable<Of<UpdateGroup>["conditions"]>[number];

function conditionOf({ status }: UpdateGroup, type: string): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** What became true of a group from `before` to `after`. */
export function groupNews(before: UpdateGroup, after: UpdateGroup): Notice[] {
  const { name, uid = "" } = after.metadata;
  const release = after.status?.target ?? "";
  const news: Notice[] = [];
  const say = (
    event: NotificationEvent,
    at: string,
    why: { reason: string; message: string },
    stage?: string,
  ): void => {
    news.push({
      event,
      group: name,
      key: [uid, event, release, stage ?? "", at],
      release,
      ...(stage === undefined ? {} : { stage }),
      reason: why.reason,
      message: why.message,
    });
  };
  const [was, is] = [conditionOf(before, "Halted"), conditionOf(after, "Halted")];
  if (is?.status === "True" && was?.status !== "True") say("Halted", is.lastTransitionTime, is);
  if (is?.status === "False" && was?.status === "True") say("Resumed", is.lastTransitionTime, is);
  if (before.status?.target === after.status?.target) {
    const passed = new Set(
      before.status?.stages?.filter(({ passedAt }) => passedAt).map((stage) => stage.name),
    );
    for (const { name: stage, size, passedAt } of after.status?.stages ?? []) {
      if (passedAt === undefined || passed.has(stage)) continue;
      const message = `Stage ${stage} of UpdateGroup ${name} passed on ${release}: ${size === 1 ? "1 node" : `${size} nodes`}.`;
      say("StagePassed", passedAt, { reason: "StagePassed", message }, stage);
    }
  }
  const [did, done] = [conditionOf(before, "Ready"), conditionOf(after, "Ready")];
  const finished =
    done?.status === "True" && done.reason === "UpToDate" && did !== undefined && did.status !== "True";
  if (finished && release !== "") say("Done", done.lastTransitionTime, done);
  return news;
}

/** What became true of a node from `before` to `after`. */
export function nodeNews(before: NodeUpdate, after: NodeUpdate): Notice[] {
  const { step, suspectSince = "", reason = "Suspect", message = "", grant } = after.status ?? {};
  if (step !== "Suspect" || before.status?.step === "Suspect") return [];
  const { name, uid = "" } = after.metadata;
  const release = grant?.release ?? "";
  const key = [uid, "Suspect", suspectSince];
  return [{ event: "Suspect", group: after.spec.group, key, release, node: name, reason, message }];
}

/** Waits before the second and each further try, ms. */
const RETRIES = [1_000, 5_000, 25_000, 120_000] as const;

/** Milliseconds until the next try, after `tries` that failed; undefined where none follows. */
export function retryAfter(tries: number, status: number | undefined): number | undefined {
  return status !== undefined && isHopeless(status) ? undefined : RETRIES[tries - 1];
}

/** Whether an HTTP status says that the same call won't be answered better later. */
export function isHopeless(status: number): boolean {
  return status >= 300 && status < 500 && status !== 408 && status !== 429;
}
