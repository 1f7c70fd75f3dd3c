/**
 * Asks the hooks of nodes that hold a slot: a label on the Node, a Job, or a call. Who runs
 * stands in the NodeUpdate's status before it is asked. What is kept here is only since when this
 * manager looks, and what the last call said: a new one begins anew, and may ask once more.
 */
import { parseDuration } from "../../api/duration.ts";
import type { Hook } from "../../api/hook.ts";
import { HOOK_RUN_ANNOTATION } from "../../api/labels.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { CRON_JOBS, type CronJob, JOBS, type Job } from "../../runtime/core.ts";
import type { HttpCaller } from "../http/caller.ts";
import { cordonOf, planAsk, planUnask } from "../node-update/cordon.ts";
import { NodeApi } from "../node-update/node-api.ts";
import { isHopeless } from "../notify/policy.ts";
import { signatureOf, type WebhookKeys } from "../notify/signature.ts";
import { type Asker, keyOfRun, toldOf } from "./asker.ts";
import { answerOfJob, isOver, jobOf, refusedBecause } from "./job.ts";
import { answerOfLabel } from "./label.ts";
import type { Answer } from "./policy.ts";
import { jobName } from "./run-name.ts";

/** Most time that one look adds, ms: a longer gap means that nobody could be asked. */
const LOOK_AT_MOST = 15_000;
/** A call that was not done is repeated after this, ms; one call takes at most so long, and its answer has so many bytes. */
const CALL_AGAIN = 5000;
const CALL_DEADLINE = 10_000;
/** A look waits so long for a call, ms; a later one finds what it said. */
const PATIENCE = 1000;
const MOST_WORDS = 4096;
/** Characters of an answer that are shown. */
const SHOWN = 300;

export interface HookRunnerDeps {
  client: KubeClient;
  http: HttpCaller;
  keys: WebhookKeys;
  clock: Clock;
  log: Logger;
}

/** What is known of a run: what it answers, and for how long this manager has looked, ms. */
export interface HookLook {
  /** Undefined while this manager's first call is under way, which its own deadline ends. */
  answer: Answer | undefined;
  watched: number;
}

interface Watch {
  run: string;
  watched: number;
  lookedAt: number;
  /** Why the last attempt to begin came to nothing. */
  refused?: Answer;
  /** What the last call said, and when (monotonic, ms). */
  called?: { answer: Answer; at: number };
  /** The call that is under way. */
  calling?: Promise<void>;
}

export class HookRunner {
  readonly #deps: HookRunnerDeps;
  readonly #nodes: NodeApi;
  /** By name of the NodeUpdate. */
  readonly #watches = new Map<string, Watch>();

  constructor(deps: HookRunnerDeps) {
    this.#deps = deps;
    this.#nodes = new NodeApi(deps.client);
  }

  /** Asks the run that stands as Running. Rejects only where `signal` aborts. */
  async look(asker: Asker, signal: AbortSignal): Promise<HookLook> {
    const watch = this.#watchOf(asker);
    const answer = await this.#answer(asker, watch, signal);
    const { refused } = watch;
    delete watch.refused;
    const told = answer?.kind === "unasked" && refused !== undefined ? refused : answer;
    return { answer: told, watched: watch.watched };
  }

  /** Asks: sets the label, or makes the Job; a call is made by the look. May be repeated. Rejects only where `signal` aborts. */
  async begin(asker: Asker, signal: AbortSignal): Promise<void> {
    const { label, job } = asker.hook;
    if (label === undefined) await this.quiet(asker, signal);
    const refused =
      label !== undefined
        ? await this.#ask(asker, label, signal)
        : job !== undefined
          ? await this.#create(asker, job, signal)
          : undefined;
    if (refused !== undefined) this.#watchOf(asker).refused = refused;
  }

  /**
   * Takes back what asked: the label, and the Job that came to nothing. It holds up no slot: the label
   * goes with the cordon at the latest, a Job ends by its own deadline.
   */
  async end(asker: Asker, signal: AbortSignal): Promise<void> {
    this.forget(asker.nodeUpdate.metadata.name);
    const { hook } = asker;
    await this.quiet(asker, signal);
    if (hook.job === undefined) return;
    const key = { namespace: hook.job.namespace, name: jobName(keyOfRun(asker), hook.name) };
    try {
      const job = await this.#read<Job>(JOBS, key, signal);
      const { uid, annotations } = job?.metadata ?? {};
      if (job === undefined || uid === undefined || annotations?.[HOOK_RUN_ANNOTATION] !== keyOfRun(asker))
        return;
      if (isOver(job)) return;
      await this.#deps.client.delete(JOBS, key, { uid, propagation: "Background", signal });
    } catch (error) {
      signal.throwIfAborted();
      this.#deps.log.error("can't delete the Job of a hook; it ends by its deadline", error, key);
    }
  }

  /** Takes off the label by which any hook asks the Node. */
  async quiet({ nodeUpdate, node }: Pick<Asker, "nodeUpdate" | "node">, signal: AbortSignal): Promise<void> {
    if (node === undefined || cordonOf(node)?.ask === undefined) return;
    try {
      await this.#nodes.patch(nodeUpdate, planUnask, signal);
    } catch (error) {
      signal.throwIfAborted();
      const { name } = nodeUpdate.metadata;
      this.#deps.log.error("can't take the label of a hook off; it goes with the cordon", error, {
        node: name,
      });
    }
  }

  /** `key`: name of the NodeUpdate. */
  forget(key: string): void {
    this.#watches.delete(key);
  }

  #watchOf(asker: Asker): Watch {
    const { name } = asker.nodeUpdate.metadata;
    const run = keyOfRun(asker);
    const now = this.#deps.clock.monotonic();
    let watch = this.#watches.get(name);
    if (watch?.run !== run) {
      watch = { run, watched: 0, lookedAt: now };
      this.#watches.set(name, watch);
    }
    watch.watched += Math.min(now - watch.lookedAt, LOOK_AT_MOST);
    watch.lookedAt = now;
    return watch;
  }

  async #answer(asker: Asker, watch: Watch, signal: AbortSignal): Promise<Answer | undefined> {
    const { hook, node, nodeUpdate } = asker;
    if (hook.label !== undefined) {
      if (nodeUpdate.spec.nodeName === undefined)
        return { kind: "failed", cause: "a plain machine has no Node that could carry a label" };
      return answerOfLabel(node, keyOfRun(asker), hook.label);
    }
    if (hook.http !== undefined) return this.#call(asker, hook.http, watch, signal);
    const { namespace = "" } = hook.job ?? {};
    try {
      const job = await this.#read<Job>(JOBS, { namespace, name: jobName(watch.run, hook.name) }, signal);
      return job === undefined ? { kind: "unasked" } : answerOfJob(job, watch.run);
    } catch (error) {
      return silent(error, signal);
    }
  }

  /** Undefined where the Node carries the label now. */
  async #ask(
    asker: Asker,
    { key: label, value, answers }: NonNullable<Hook["label"]>,
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    const ask = { run: keyOfRun(asker), label, value, answers };
    try {
      await this.#nodes.patch(asker.nodeUpdate, (node) => planAsk(node, asker.token, ask), signal);
      return undefined;
    } catch (error) {
      return silent(error, signal);
    }
  }

  /** Undefined where the Job is there now. */
  async #create(
    asker: Asker,
    job: NonNullable<Hook["job"]>,
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    const { namespace, cronJob: name } = job;
    try {
      const cronJob = await this.#read<CronJob>(CRON_JOBS, { namespace, name }, signal);
      if (cronJob === undefined)
        return { kind: "failed", cause: `CronJob ${namespace}/${name} does not exist` };
      const refused = refusedBecause(asker, cronJob);
      if (refused !== undefined) return { kind: "failed", cause: refused };
      await this.#deps.client.create<Job>(JOBS, jobOf(asker, job, cronJob), { signal });
      return undefined;
    } catch (error) {
      if (isApiError(error, "AlreadyExists")) return undefined;
      if (isApiError(error, "Invalid")) return { kind: "failed", cause: error.message.slice(0, SHOWN) };
      return silent(error, signal);
    }
  }

  /** A call that is slow goes on while the worker does other things: one group's endpoint must not hold up the nodes of all. */
  async #call(
    asker: Asker,
    hook: NonNullable<Hook["http"]>,
    watch: Watch,
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    const { clock } = this.#deps;
    const { called } = watch;
    const due = called === undefined || clock.monotonic() - called.at >= CALL_AGAIN;
    if (due && watch.calling === undefined) {
      watch.calling = this.#post(asker, hook, signal).then((answer) => {
        watch.called = { answer, at: clock.monotonic() };
        delete watch.calling;
      });
    }
    if (watch.calling !== undefined) await soon(clock, PATIENCE, watch.calling);
    signal.throwIfAborted();
    return watch.called?.answer;
  }

  /** Never rejects. */
  async #post(
    asker: Asker,
    { url, signingKey }: NonNullable<Hook["http"]>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { http, keys } = this.#deps;
    try {
      const body = JSON.stringify(toldOf(asker));
      const key = signingKey === undefined ? undefined : await keys(signingKey);
      if (signingKey !== undefined && (key === undefined || key === ""))
        throw new Error(`the manager has no webhook key ${signingKey}; nothing is sent unsigned`);
      const headers = {
        "content-type": "application/json",
        "user-agent": "slipway-manager",
        "slipway-event": "Hook",
        ...(key === undefined ? {} : { "slipway-signature": signatureOf(body, key) }),
      };
      const deadline = Math.min(CALL_DEADLINE, parseDuration(asker.hook.timeout));
      const request = { method: "POST", url, headers, body, deadline, limit: MOST_WORDS } as const;
      return answerOfCall(await http(request, signal));
    } catch (error) {
      return { kind: "silent", cause: causeOf(error) };
    }
  }

  async #read<T extends Job | CronJob>(
    resource: typeof JOBS,
    key: { namespace: string; name: string },
    signal: AbortSignal,
  ): Promise<T | undefined> {
    try {
      return await this.#deps.client.get<T>(resource, key, { signal });
    } catch (error) {
      if (isApiError(error, "NotFound")) return undefined;
      throw error;
    }
  }
}

function answerOfCall({ status, body }: { status: number; body: string }): Answer {
  const words = body.replaceAll(/\s+/g, " ").trim().slice(0, SHOWN);
  const said = `it answered ${status}${words === "" ? "" : `: ${words}`}`;
  if (status === 202) return { kind: "pending", message: said };
  if (status >= 200 && status < 300) return { kind: "done" };
  return isHopeless(status) ? { kind: "failed", cause: said } : { kind: "silent", cause: said };
}

/** Rejects where it was us who gave up. */
function silent(error: unknown, signal: AbortSignal): Answer {
  signal.throwIfAborted();
  return { kind: "silent", cause: causeOf(error) };
}

function causeOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, SHOWN);
}

/** Waits for `work`, but not longer than `patience`, ms. */
async function soon(clock: Clock, patience: number, work: Promise<void>): Promise<void> {
  let cancel: Cancel = () => undefined;
  const enough = new Promise<void>((resolve) => {
    cancel = clock.after(patience, resolve);
  });
  await Promise.race([work, enough]);
  cancel();
}
