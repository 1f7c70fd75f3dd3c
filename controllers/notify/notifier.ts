/**
 * Tells a group's webhook what happens to it. Observes UpdateGroups and NodeUpdates; writes
 * nothing but events. It is a courtesy: what happens while no manager leads is not told, a
 * queue that is full forgets its oldest. Alerts are what to rely on.
 */
import { createHash } from "node:crypto";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import type { Store } from "../../runtime/store.ts";
import type { HttpCaller } from "../http/caller.ts";
import { groupNews, type Notice, nodeNews, retryAfter } from "./policy.ts";
import { signatureOf, type WebhookKeys } from "./signature.ts";

/** Notices of one group that wait at most. */
const QUEUE = 64;
/** Milliseconds for one call; bytes of its answer. */
const DEADLINE = 10_000;
const MOST_WORDS = 4096;

export type NotificationOutcome = "sent" | "failed" | "dropped";

export interface NotifierDeps {
  groups: Store<UpdateGroup>;
  nodeUpdates: Store<NodeUpdate>;
  http: HttpCaller;
  keys: WebhookKeys;
  recorder: EventRecorder;
  clock: Clock;
  log: Logger;
  told: (outcome: NotificationOutcome) => void;
}

interface Waiting {
  notice: Notice;
  /** Wall clock, ms. */
  at: number;
}

export class Notifier {
  readonly #deps: NotifierDeps;
  /** By group; its first is being told. */
  readonly #queues = new Map<string, Waiting[]>();
  #signal: AbortSignal | undefined;

  constructor(deps: NotifierDeps) {
    this.#deps = deps;
    deps.groups.onChange((change) => {
      if (change.type === "updated") this.#offer(groupNews(change.before, change.object));
    });
    deps.nodeUpdates.onChange((change) => {
      if (change.type === "updated") this.#offer(nodeNews(change.before, change.object));
    });
  }

  /** Tells what happens until `signal` aborts; what waits then is dropped. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#signal = undefined;
    this.#queues.clear();
  }

  #offer(news: readonly Notice[]): void {
    const { groups, clock, told } = this.#deps;
    const signal = this.#signal;
    if (signal === undefined) return;
    for (const notice of news) {
      const wanted = groups.get(notice.group)?.spec.notifications;
      if (wanted === undefined || wanted.events?.includes(notice.event) === false) continue;
      const waiting = { notice, at: clock.now() };
      const queue = this.#queues.get(notice.group);
      if (queue === undefined) {
        this.#queues.set(notice.group, [waiting]);
        void this.#work(notice.group, signal);
        continue;
      }
      queue.push(waiting);
      // The first is under way.
      if (queue.length > QUEUE) {
        queue.splice(1, 1);
        told("dropped");
      }
    }
  }

  async #work(group: string, signal: AbortSignal): Promise<void> {
    const queue = this.#queues.get(group) ?? [];
    for (let [first] = queue; first !== undefined && !signal.aborted; [first] = queue) {
      try {
        await this.#tell(first, signal);
      } catch (error) {
        if (!signal.aborted) this.#deps.log.error("can't tell a webhook", error, { group });
      }
      queue.shift();
    }
    this.#queues.delete(group);
  }

  async #tell({ notice, at }: Waiting, signal: AbortSignal): Promise<void> {
    const { groups, http, keys, recorder, clock, told, log } = this.#deps;
    const body = bodyOf(notice, at);
    for (let tries = 1; ; tries++) {
      const group = groups.get(notice.group);
      const wanted = group?.spec.notifications;
      if (group === undefined || wanted === undefined) return;
      const { url, signingKey } = wanted;
      let cause: string;
      let status: number | undefined;
      // An empty file signs nothing: everybody knows that key.
      const found = await keys(signingKey);
      const key = found === "" ? undefined : found;
      if (key === undefined) cause = `the manager has no webhook key ${signingKey}; nothing is sent unsigned`;
      else {
        try {
          const headers = {
            "content-type": "application/json",
            "user-agent": "slipway-manager",
            "slipway-event": notice.event,
            "slipway-signature": signatureOf(body, key),
          };
          const bounds = { deadline: DEADLINE, limit: MOST_WORDS };
          ({ status } = await http({ method: "POST", url, headers, body, ...bounds }, signal));
          if (status >= 200 && status < 300) {
            told("sent");
            return;
          }
          cause = `it answered ${status}`;
        } catch (error) {
          signal.throwIfAborted();
          cause = error instanceof Error ? error.message : String(error);
        }
      }
      const wait = key === undefined ? undefined : retryAfter(tries, status);
      if (wait === undefined) {
        told("failed");
        const message = `The webhook of UpdateGroup ${notice.group} was not told of ${notice.event}: ${cause}.`;
        log.info("a notification was lost", { group: notice.group, event: notice.event, why: cause });
        recorder.record(group, { reason: "NotificationFailed", message }, "Notify");
        return;
      }
      await sleep(clock, wait, signal);
    }
  }
}

/** `text` is what chat programs show. The id is the same whoever sends it, and however often. */
function bodyOf({ key, ...notice }: Notice, at: number): string {
  const id = createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 32);
  const about = notice.node === undefined ? notice.group : `${notice.group}, ${notice.node}`;
  const text = `Slipway ${notice.event} (${about}): ${notice.message}`;
  return JSON.stringify({ id, time: new Date(at).toISOString(), ...notice, text });
}
