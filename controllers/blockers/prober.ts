/**
 * Asks the blockers of groups: Prometheus for its alerts, the API server for Pods, hooks for
 * their word. While nodes wait, alerts and Pods are asked with each plan; all are asked
 * anew for the one node that is about to take a slot.
 */
import * as z from "zod";
import type { Blocker } from "../../api/blocker.ts";
import { parseDuration } from "../../api/duration.ts";
import type { Why } from "../../api/reasons.ts";
import { selectorText } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { PODS, type Pod } from "../../runtime/core.ts";
import { startDeadline } from "../../runtime/deadline.ts";
import { type HttpCaller, withoutQuery } from "../http/caller.ts";
import { blockedBy, type ReadAlert, type Reading, type Readings, type ReadPod } from "./policy.ts";

/** What was read counts in plans for so long, ms; a plan follows every 10 s. */
const FRESH = 60_000;
/** Since when a hook said no, or did not answer, is remembered so long after the last time, ms. */
const REMEMBERED = 600_000;
const MOST_REMEMBERED = 10_000;
/** Bytes. */
const MOST_ALERTS = 4 * 1024 * 1024;
const MOST_WORDS = 4096;
/** Characters of a hook's word that are shown. */
const SHOWN = 300;

export interface ProberDeps {
  client: Pick<KubeClient, "list">;
  http: HttpCaller;
  clock: Clock;
  log: Logger;
}

/** The node that is about to take a slot. */
export interface Asker {
  /** Name of the NodeUpdate. */
  name: string;
  /** Name of the Node; undefined for a plain machine. */
  node: string | undefined;
  /** "" where it only reboots. */
  release: string;
}

export class Prober {
  readonly #deps: ProberDeps;
  /** By group: what the last look read, and when (monotonic, ms). */
  readonly #readings = new Map<string, { at: number; readings: Readings }>();
  readonly #since = new Map<string, { since: number; seen: number }>();
  #looking = false;

  constructor(deps: ProberDeps) {
    this.#deps = deps;
  }

  /** By group, for a plan: alerts and Pods, as far as they are fresh. */
  readings(): ReadonlyMap<string, Readings> {
    const now = this.#deps.clock.monotonic();
    for (const [group, { at }] of this.#readings) if (now - at > FRESH) this.#readings.delete(group);
    return new Map([...this.#readings].map(([group, { readings }]) => [group, readings]));
  }

  /** Asks alerts and Pods for `groups`, those with nodes that wait; does nothing while the last look lasts. */
  async look(groups: readonly UpdateGroup[], signal: AbortSignal): Promise<void> {
    const asked = groups.filter(({ spec }) => spec.blockers?.some(({ http }) => http === undefined));
    if (asked.length === 0 || this.#looking) return;
    this.#looking = true;
    try {
      await Promise.all(
        asked.map(async ({ metadata, spec }) => {
          const blockers = spec.blockers?.filter(({ http }) => http === undefined) ?? [];
          const readings = await this.#read(metadata.name, blockers, undefined, signal);
          this.#readings.set(metadata.name, { at: this.#deps.clock.monotonic(), readings });
        }),
      );
    } catch (error) {
      if (!signal.aborted) this.#deps.log.error("can't ask blockers", error);
    } finally {
      this.#looking = false;
    }
  }

  /** Asks every blocker of `group` for one node; why it may not take a slot, or undefined. */
  async ask(group: UpdateGroup, asker: Asker, signal: AbortSignal): Promise<Why | undefined> {
    const { blockers } = group.spec;
    if (blockers === undefined || blockers.length === 0) return undefined;
    const { name } = group.metadata;
    return blockedBy(name, blockers, asker.node, await this.#read(name, blockers, asker, signal));
  }

  async #read(
    group: string,
    blockers: readonly Blocker[],
    asker: Asker | undefined,
    signal: AbortSignal,
  ): Promise<Readings> {
    const readings = blockers.map(async (blocker) => {
      const key = JSON.stringify([group, blocker.name, blocker.http === undefined ? "" : asker?.name]);
      return [blocker.name, await this.#readOne(group, blocker, asker, key, signal)] as const;
    });
    return new Map(await Promise.all(readings));
  }

  async #readOne(
    group: string,
    blocker: Blocker,
    asker: Asker | undefined,
    key: string,
    signal: AbortSignal,
  ): Promise<Reading> {
    const deadline = parseDuration(blocker.timeout);
    try {
      if (blocker.alerts !== undefined) {
        const alerts = await this.#alerts(blocker.alerts.url, deadline, signal);
        this.#since.delete(key);
        return { kind: "alerts", alerts };
      }
      if (blocker.pods !== undefined) {
        const pods = await this.#pods(blocker.pods, asker?.node, deadline, signal);
        this.#since.delete(key);
        return { kind: "pods", pods };
      }
      const { url = "" } = blocker.http ?? {};
      const { name: node = "", release = "" } = asker ?? {};
      const refusal = await this.#hook(url, { node, group, release }, deadline, signal);
      if (refusal !== undefined) return { kind: "refused", message: refusal, since: this.#sinceOf(key) };
      this.#since.delete(key);
      return { kind: "allowed" };
    } catch (error) {
      signal.throwIfAborted();
      const cause = error instanceof Error ? error.message : String(error);
      return { kind: "failed", cause: cause.slice(0, SHOWN), since: this.#sinceOf(key) };
    }
  }

  /** Wall clock, ms: since when it has been so, as far as this process saw it. */
  #sinceOf(key: string): number {
    const { clock } = this.#deps;
    const seen = clock.monotonic();
    const known = this.#since.get(key);
    const since = known !== undefined && seen - known.seen <= REMEMBERED ? known.since : clock.now();
    this.#since.delete(key);
    this.#since.set(key, { since, seen });
    const [oldest] = this.#since.keys();
    if (this.#since.size > MOST_REMEMBERED && oldest !== undefined) this.#since.delete(oldest);
    return since;
  }

  async #alerts(base: string, deadline: number, signal: AbortSignal): Promise<ReadAlert[]> {
    const url = `${base.replace(/\/+$/, "")}/api/v1/alerts`;
    const { status, body } = await this.#deps.http(
      { method: "GET", url, deadline, limit: MOST_ALERTS, whole: true },
      signal,
    );
    if (status !== 200) throw new Error(`${withoutQuery(url)} answered ${status}`);
    return parseAlerts(body, withoutQuery(url));
  }

  async #pods(
    { namespace, selector }: NonNullable<Blocker["pods"]>,
    node: string | undefined,
    deadline: number,
    signal: AbortSignal,
  ): Promise<ReadPod[]> {
    const reason = () => new Error("the API server gave no list of Pods in time");
    const limited = startDeadline(this.#deps.clock, deadline, reason, signal);
    try {
      const { items } = await this.#deps.client.list<Pod>(PODS, {
        ...(namespace === undefined ? {} : { namespace }),
        ...(node === undefined ? {} : { fieldSelector: `spec.nodeName=${node}` }),
        labelSelector: selectorText(selector),
        signal: limited.signal,
      });
      return items.flatMap(readPod);
    } finally {
      limited.cancel();
    }
  }

  /** Why it says no; undefined where it lets the node go on. */
  async #hook(
    url: string,
    about: object,
    deadline: number,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { status, body } = await this.#deps.http(
      {
        method: "POST",
        url,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(about),
        deadline,
        limit: MOST_WORDS,
      },
      signal,
    );
    if (status >= 200 && status < 300) return undefined;
    if (status !== 423) throw new Error(`${withoutQuery(url)} answered ${status}`);
    return body.replaceAll(/\s+/g, " ").trim().slice(0, SHOWN) || "it gives no reason";
  }
}

const Alerts = z.object({
  status: z.literal("success"),
  data: z.object({
    alerts: z
      .array(
        z.object({
          labels: z.record(z.string(), z.string()),
          state: z.string(),
          activeAt: z.string().optional(),
        }),
      )
      .max(20_000),
  }),
});

/** Prometheus's answer to `GET /api/v1/alerts`. Throws one sentence where it is none. */
export function parseAlerts(body: string, url: string): ReadAlert[] {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new Error(`${url} answered no JSON`);
  }
  const parsed = Alerts.safeParse(json);
  if (!parsed.success) throw new Error(`${url} answered no list of alerts`);
  return parsed.data.data.alerts.flatMap(({ labels, state, activeAt }) => {
    if (state !== "firing" && state !== "pending") return [];
    const since = Date.parse(activeAt ?? "");
    return [{ name: labels["alertname"] ?? "", labels, state, since: Number.isFinite(since) ? since : 0 }];
  });
}

/** A Pod that is not over yet. */
function readPod({ metadata, spec, status }: Pod): ReadPod[] {
  const over = status?.phase === "Succeeded" || status?.phase === "Failed";
  if (over || spec?.nodeName === undefined) return [];
  const since = Date.parse(metadata.creationTimestamp ?? "");
  return [
    {
      namespace: metadata.namespace ?? "",
      name: metadata.name,
      node: spec.nodeName,
      since: Number.isFinite(since) ? since : 0,
    },
  ];
}
