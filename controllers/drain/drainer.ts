/** Carries out drains: asks for the Pods, evicts, and remembers how each drain gets on. */
import { parseDuration } from "../../api/duration.ts";
import type { Why } from "../../api/reasons.ts";
import type { UpdateGroupSpec } from "../../api/update-group.ts";
import type { Clock } from "../../ports/clock.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { PODS, type Pod } from "../../runtime/core.ts";
import { GATEWAY_LABEL, MANAGER_LABEL, selectorOf } from "../foundation.ts";
import {
  type DrainDecision,
  type DrainView,
  decideDrain,
  dryVerdict,
  isStuck,
  leaving,
  type Refusal,
} from "./policy.ts";

/** Evictions under way at once, for one node. */
const PARALLEL = 8;
/** For so long one pass begins evictions, ms; each of them ends by itself. A drain's deadlines are looked at between two passes. */
const PASS_LIMIT = 60_000;

interface Course {
  /** Pods seen last, by UID; true once they were told to go. */
  left: Map<string, boolean>;
  /** Monotonic: when a Pod last left or was told to. */
  movedAt: number;
  refusals: Map<string, Refusal>;
}

/** By Pod UID, of all that were asked: how it was refused, or undefined where it may leave. */
type Answers = Map<string, Refusal | undefined>;

/** What the drain of one node is decided by, but for its Pods and what was refused. */
export type DrainRequest = Pick<
  DrainView,
  | "node"
  | "policy"
  | "startedAt"
  | "now"
  | "notBefore"
  | "open"
  | "closes"
  | "frozen"
  | "bootNeeds"
  | "hookJobs"
  | "revision"
> & { uid: string; rivals: readonly { uid: string; node: string; revision: number }[] };

export class Drainer {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #namespace: string;
  /** By uid of the node. Bounded by the grants that there are: `forget` ends one. */
  readonly #courses = new Map<string, Course>();

  /** `namespace`: where the gateways run, and the manager: only Pods there are gateways. */
  constructor(client: KubeClient, clock: Clock, namespace: string) {
    this.#client = client;
    this.#clock = clock;
    this.#namespace = namespace;
  }

  /** Looks at the node's Pods and says what comes next. */
  async decide(view: DrainRequest, signal: AbortSignal): Promise<DrainDecision> {
    const seen = await this.#look(view.node, signal);
    const course = this.#follow(view.uid, leaving({ ...view, ...seen }));
    return decideDrain({
      ...view,
      ...seen,
      refusals: course.refusals,
      idleFor: this.#clock.monotonic() - course.movedAt,
      rivals: view.rivals.map((rival) => ({ ...rival, stuck: this.#isStuck(rival.uid) })),
    });
  }

  /** Evicts, and remembers who refused. */
  async evict(
    uid: string,
    pods: readonly Pod[],
    { gracePeriod }: UpdateGroupSpec["drain"],
    signal: AbortSignal,
  ): Promise<void> {
    const course = this.#follow(uid, undefined);
    const options =
      gracePeriod === undefined ? {} : { gracePeriodSeconds: parseDuration(gracePeriod) / 1000 };
    for (const [pod, refusal] of await this.#ask(pods, { ...options, signal })) {
      if (refusal === undefined) course.refusals.delete(pod);
      else course.refusals.set(pod, refusal);
    }
  }

  /** Tries evictions dry, until one is allowed: why a slot would be held in vain, or undefined. */
  async dryRun(node: string, signal: AbortSignal): Promise<Why | undefined> {
    const going = leaving({ ...(await this.#look(node, signal)), node });
    const answers = await this.#ask(going, { dryRun: true, signal });
    const refusals = new Map<string, Refusal>();
    for (const [pod, refusal] of answers) if (refusal !== undefined) refusals.set(pod, refusal);
    const asked = going.filter(({ metadata }) => answers.has(metadata.uid ?? ""));
    return dryVerdict(asked, refusals);
  }

  forget(uid: string): void {
    this.#courses.delete(uid);
  }

  /** An error of one Pod is its refusal: it must hold up neither the other Pods nor the drain's deadlines. */
  async #ask(
    pods: readonly Pod[],
    options: { signal: AbortSignal; dryRun?: boolean; gracePeriodSeconds?: number },
  ): Promise<Answers> {
    const answers: Answers = new Map();
    const queue = pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined).values();
    const until = this.#clock.monotonic() + PASS_LIMIT;
    let enough = false;
    const worker = async (): Promise<void> => {
      for (const { metadata } of queue) {
        const { name, namespace = "", uid = "" } = metadata;
        const refusal = await this.#evict({ name, namespace, uid }, options);
        answers.set(uid, refusal);
        enough ||= options.dryRun === true && refusal === undefined;
        if (enough || this.#clock.monotonic() >= until) return;
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
    return answers;
  }

  async #evict(
    pod: { name: string; namespace: string; uid: string },
    options: { signal: AbortSignal; dryRun?: boolean; gracePeriodSeconds?: number },
  ): Promise<Refusal | undefined> {
    try {
      const result = await this.#client.evict(pod, options);
      return result.outcome === "blocked" ? { by: "budget", message: result.message } : undefined;
    } catch (error) {
      if (!isApiError(error) || options.signal.aborted) throw error;
      return { by: "server", message: error.message };
    }
  }

  async #look(
    node: string,
    signal: AbortSignal,
  ): Promise<Pick<DrainView, "pods" | "foundation" | "namespace">> {
    const namespace = this.#namespace;
    const own = (label: typeof GATEWAY_LABEL | typeof MANAGER_LABEL) =>
      this.#client.list<Pod>(PODS, { namespace, labelSelector: selectorOf(label), signal });
    const [pods, gateways, managers] = await Promise.all([
      this.#client.list<Pod>(PODS, { fieldSelector: `spec.nodeName=${node}`, signal }),
      own(GATEWAY_LABEL),
      own(MANAGER_LABEL),
    ]);
    return { pods: pods.items, foundation: [...gateways.items, ...managers.items], namespace };
  }

  #follow(uid: string, left: readonly Pod[] | undefined): Course {
    const now = this.#clock.monotonic();
    let course = this.#courses.get(uid);
    if (course === undefined) {
      course = { left: new Map(), movedAt: now, refusals: new Map() };
      this.#courses.set(uid, course);
    }
    if (left === undefined) return course;
    const seen = new Map(
      left.map(({ metadata }) => [metadata.uid ?? "", metadata.deletionTimestamp !== undefined]),
    );
    const moved = [...course.left].some(
      ([pod, told]) => seen.get(pod) === undefined || (!told && seen.get(pod) === true),
    );
    if (moved) course.movedAt = now;
    course.left = seen;
    for (const pod of course.refusals.keys()) if (seen.get(pod) !== false) course.refusals.delete(pod);
    return course;
  }

  #isStuck(uid: string): boolean {
    const course = this.#courses.get(uid);
    return course !== undefined && isStuck(this.#clock.monotonic() - course.movedAt, course.refusals.size);
  }
}
