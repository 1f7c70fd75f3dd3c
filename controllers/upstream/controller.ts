/** Asks the upstreams of Channels; makes Releases, and points Channels at them where that is asked for. */
import { type Channel, channel as channelKind, type Upstream, UpstreamUrl } from "../../api/channel.ts";
import { LOOK_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, type ConditionUpdate } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import { type Release, release as releaseKind } from "../../api/release.ts";
import { compareVersions } from "../../api/version.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { AnswerError, type OmahaReply, readAnswer } from "../../proto/omaha/answer.ts";
import { renderAsk } from "../../proto/omaha/ask.ts";
import { type ApiError, isApiError, type KubeClient } from "../../runtime/client.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import type { Reconciler } from "../../runtime/reconciler.ts";
import { keyOf, type Store } from "../../runtime/store.ts";
import type { HttpCaller } from "../http/caller.ts";
import {
  BOARDS,
  conditionsOf,
  type Decision,
  decideUpstream,
  machineIdOf,
  nextLook,
  type Step,
} from "./policy.ts";

/** For one answer, ms. */
const DEADLINE = 20_000;
/** Bytes of an answer: one with 65 packages has 20 KiB. */
const MAX_ANSWER = 256 * 1024;
/** Versions on the way to the newest one. */
const MAX_STEPS = 16;
/** Wait while a store has no complete list yet, ms. */
const UNSYNCED = 1000;

export interface UpstreamDeps {
  client: Pick<KubeClient, "create" | "apply">;
  stores: { channels: Store<Channel>; releases: Store<Release> };
  http: HttpCaller;
  recorder: EventRecorder;
  clock: Clock;
  log: Logger;
  /** The text of a `urlKey`, read anew for each look: it may be changed; there are none if absent. */
  urls?: (key: string) => Promise<string | undefined>;
  /** After each look: the channel's status is to be written. */
  looked: (channel: string) => void;
}

interface Look {
  /** What was asked for, and a person's word: a change of either is looked at at once. */
  asked: string;
  /** Monotonic, ms. */
  at: number;
  failures: number;
  conditions: ConditionUpdate[];
}

/** The way to the upstream, or its answer, is no good. */
class UpstreamError extends Error {
  readonly why: Why;

  constructor(reason: "UpstreamUnreachable" | "UpstreamRefused" | "UpstreamInvalid", message: string) {
    super(message);
    this.why = { reason, message };
  }
}

/** Keys are names of Channels. Looks are remembered by the process alone: a new leader looks at once. */
export class UpstreamReconciler implements Reconciler {
  readonly #deps: UpstreamDeps;
  /** By channel; one that has no upstream any more is taken out. */
  readonly #looks = new Map<string, Look>();

  constructor(deps: UpstreamDeps) {
    this.#deps = deps;
  }

  conditions(channel: string): readonly ConditionUpdate[] {
    return this.#looks.get(channel)?.conditions ?? [];
  }

  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfter?: number }> {
    const { stores, clock, looked, log } = this.#deps;
    if (!stores.channels.synced || !stores.releases.synced) return { requeueAfter: UNSYNCED };
    const channel = stores.channels.get(key);
    const upstream = channel?.spec.upstream;
    if (channel === undefined || upstream === undefined || channel.metadata.deletionTimestamp !== undefined) {
      this.#looks.delete(key);
      return {};
    }
    const { uid = "" } = channel.metadata;
    const asked = JSON.stringify([upstream, channel.metadata.annotations?.[LOOK_ANNOTATION]]);
    const before = this.#looks.get(key);
    if (before?.asked === asked) {
      const left = before.at + nextLook(uid, upstream, before.failures) - clock.monotonic();
      if (left > 0) return { requeueAfter: left };
    }
    const at = clock.monotonic();
    let failed: Why | undefined;
    let followed: Why | undefined;
    try {
      const steps = await this.#ask(uid, upstream, signal);
      const decision = decideUpstream(channel, upstream, steps, stores.releases.list());
      followed = await this.#carryOut(channel, decision, signal);
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      failed = error.why;
      log.error("a channel's upstream can't be followed", error, { channel: key, reason: failed.reason });
    }
    const failures = failed === undefined ? 0 : (before?.failures ?? 0) + 1;
    this.#looks.set(key, { asked, at, failures, conditions: conditionsOf(failed, followed) });
    looked(key);
    return { requeueAfter: nextLook(uid, upstream, failures) };
  }

  /** The way of each architecture to what it is offered. */
  async #ask(
    uid: string,
    upstream: Upstream,
    signal: AbortSignal,
  ): Promise<Map<Upstream["architectures"][number], Step[]>> {
    const ways = new Map<Upstream["architectures"][number], Step[]>();
    const url = await this.#urlOf(upstream);
    for (const architecture of upstream.architectures) {
      const way: Step[] = [];
      const { product, track } = upstream;
      const machineId = machineIdOf(uid, architecture);
      for (let version = "0.0.0"; ; ) {
        const ask = { product, track, board: BOARDS[architecture], version, machineId };
        const reply = await this.#send(url, renderAsk(ask), signal);
        // What is not newer is an end as well: not every server compares.
        const steps = stepsAfter(version, reply);
        way.push(...steps);
        // Where it is cut, the last would be taken for the newest.
        if (way.length > MAX_STEPS)
          throw new UpstreamError(
            "UpstreamInvalid",
            `The upstream leads over more than ${MAX_STEPS} versions for ${architecture}, which are more than are declared.`,
          );
        const last = steps.at(-1)?.manifest;
        if (last === undefined || last.target) break;
        version = last.version;
      }
      ways.set(architecture, way);
    }
    return ways;
  }

  /** Of one that is secret nothing is told. */
  async #urlOf({ url, urlKey = "" }: Upstream): Promise<string> {
    if (url !== undefined) return url;
    const secret = await this.#deps.urls?.(urlKey);
    if (secret === undefined)
      throw new UpstreamError(
        "UpstreamUnreachable",
        `The manager has no URL ${urlKey}: it is an entry of the Secret that manager.upstreamUrlsSecret of the chart names.`,
      );
    if (!UpstreamUrl.safeParse(secret).success)
      throw new UpstreamError(
        "UpstreamUnreachable",
        `What the manager has as ${urlKey} is no URL that starts with http:// or https://, without a password or a query.`,
      );
    return secret;
  }

  async #send(url: string, body: string, signal: AbortSignal): Promise<OmahaReply> {
    const headers = { "content-type": "text/xml" };
    let answer: { status: number; body: string };
    try {
      answer = await this.#deps.http(
        { method: "POST", url, headers, body, deadline: DEADLINE, limit: MAX_ANSWER, whole: true },
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      const said = error instanceof Error ? error.message : String(error);
      throw new UpstreamError(
        "UpstreamUnreachable",
        `The upstream gave no answer: ${said.replaceAll(url, "its URL")}.`,
      );
    }
    if (answer.status < 200 || answer.status > 299)
      throw new UpstreamError(
        "UpstreamUnreachable",
        `The upstream answered with the HTTP status ${answer.status}.`,
      );
    let reply: OmahaReply;
    try {
      reply = readAnswer(answer.body);
    } catch (error) {
      if (!(error instanceof AnswerError)) throw error;
      throw new UpstreamError(
        "UpstreamInvalid",
        `The upstream gave a wrong answer: ${error.message.slice(0, 300)}.`,
      );
    }
    if (reply.is === "refused")
      throw new UpstreamError(
        "UpstreamRefused",
        `The upstream refused the product or the track: ${reply.because}.`,
      );
    return reply;
  }

  /** Releases first: a channel never points at one that is not there. */
  async #carryOut(
    channel: Channel,
    { declare, promote, followed }: Decision,
    signal: AbortSignal,
  ): Promise<Why> {
    const { client, recorder, log } = this.#deps;
    const { name, uid } = channel.metadata;
    try {
      for (const release of declare) {
        await client.create(releaseKind, release, { signal });
        const message = `Release ${release.metadata.name} was made of what the upstream offers.`;
        recorder.record(channel, { reason: "UpstreamFollowed", message }, "Declare");
      }
      if (declare.length > 0 && followed.reason === "UpstreamCrowded")
        recorder.record(channel, followed, "Declare");
      if (promote !== undefined) {
        const metadata = { name, ...(uid === undefined ? {} : { uid }) };
        const patch = { apiVersion: API_VERSION, kind: channelKind.kind, metadata, spec: promote };
        await client.apply(channelKind, patch, { fieldManager: "slipway-upstream", signal });
      }
      return followed;
    } catch (error) {
      if (!isApiError(error) || !LASTING.includes(error.kind)) throw error;
      log.error("what an upstream offers can't be declared", error, { channel: name });
      return {
        reason: "UpstreamNotApplied",
        message: `The API server refused it: ${error.message.slice(0, 300)}`,
      };
    }
  }
}

/** Refusals that another try alone does not mend. */
const LASTING: readonly ApiError["kind"][] = [
  "Forbidden",
  "Conflict",
  "Invalid",
  "AlreadyExists",
  "NotFound",
];

function stepsAfter(version: string, reply: OmahaReply): Step[] {
  if (reply.is !== "update") return [];
  const { codebases, manifests } = reply;
  return manifests
    .filter((manifest) => compareVersions(manifest.version, version) > 0)
    .toSorted((a, b) => compareVersions(a.version, b.version))
    .map((manifest) => ({ manifest, codebases }));
}

/** What makes it look. */
export function upstreamWatches({ channels }: UpstreamDeps["stores"]): Watching[] {
  return [watching(channels, (change) => [keyOf(objectOf(change))])];
}
