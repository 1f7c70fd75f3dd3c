/** What the agent says of its machine: built from one situation and decision, sent when it changed, once a second at most. */
import { create, equals } from "@bufbuild/protobuf";
import type { Cancel, Clock } from "../ports/clock.ts";
import { type Observed, ObservedSchema } from "../proto/gen/agent_pb.ts";
import type { Decision } from "./decision.ts";
import { failedHere, refusedNow, wantsReboot } from "./policy-stage.ts";
import { passiveLabel, runningLabel, type Situation } from "./situation.ts";

const SPACING = 1000;

/** `since`: wall clock ms when the step began. */
export function observe(
  situation: Situation,
  decision: Decision,
  machineId: string,
  since: number,
): Observed {
  const { memory, machine, run, boot } = situation;
  const running = runningLabel(machine);
  const passive = passiveLabel(machine);
  const barred =
    passive && (failedHere(situation, passive.rootHash) ?? refusedNow(situation, passive.rootHash));
  const staged = barred === undefined ? passive : undefined;
  const progress = run.staging?.progress;
  const observed = create(ObservedSchema, {
    boot: { bootId: boot.id, softReboots: boot.softReboots },
    runningVersion: running?.version ?? situation.runningVersion,
    runningRootHash: running?.rootHash ?? "",
    step: decision.step,
    reason: decision.why.reason,
    message: decision.why.message,
    sinceMs: BigInt(since),
    doneBytes: BigInt(progress?.done ?? 0),
    totalBytes: BigInt(progress?.total ?? 0),
    fetchedBytes: BigInt(progress?.fetched ?? 0),
    reusedBytes: BigInt(progress?.reused ?? 0),
    stagedRootHash: staged?.rootHash ?? "",
    stagedVersion: staged?.version ?? "",
    rebootRequired: wantsReboot(situation),
    failed: memory.machine.failed.map(({ rootHash, version, reason, message, at }) => ({
      rootHash,
      version,
      reason,
      message,
      atMs: BigInt(at),
    })),
    floorVersion: memory.machine.floor,
    machineId,
    architecture: situation.architecture,
  });
  if (machine.kind === "slots") {
    observed.slots = machine.slots.map(({ name, priority, tries, successful }) => ({
      $typeName: "slipway.agent.v1.Slot",
      name,
      version: machine.labels[name]?.version ?? "",
      rootHash: machine.labels[name]?.rootHash ?? "",
      priority,
      tries,
      successful,
      running: name === machine.running,
    }));
  }
  if (memory.act !== null) {
    const { incarnation, revision } = memory.act.token;
    observed.token = { $typeName: "slipway.agent.v1.Token", incarnation, revision };
  }
  return observed;
}

export class Reporter {
  readonly #clock: Clock;
  readonly #send: (observed: Observed) => boolean;
  #latest: Observed | undefined;
  #sent: Observed | undefined;
  /** In the Hello of a session that is not open yet. */
  #inHello: Observed | undefined;
  #sentAt = -Infinity;
  #timer: Cancel | undefined;

  /** `send` is false where there is no session. */
  constructor(clock: Clock, send: (observed: Observed) => boolean) {
    this.#clock = clock;
    this.#send = send;
  }

  get latest(): Observed | undefined {
    return this.#latest;
  }

  /** The latest, for the Hello of a new session. */
  forHello(): Observed | undefined {
    this.#inHello = this.#latest;
    return this.#latest;
  }

  offer(observed: Observed): void {
    this.#latest = observed;
    this.#flush();
  }

  /** A session began with what its Hello carried; since then there may be something newer. */
  carried(): void {
    this.#sent = this.#inHello;
    this.#sentAt = this.#clock.monotonic();
    this.#flush();
  }

  stop(): void {
    this.#timer?.();
    this.#timer = undefined;
  }

  #flush(): void {
    const latest = this.#latest;
    if (latest === undefined || this.#timer !== undefined) return;
    if (this.#sent !== undefined && equals(ObservedSchema, this.#sent, latest)) return;
    const wait = this.#sentAt + SPACING - this.#clock.monotonic();
    if (wait > 0) {
      this.#timer = this.#clock.after(wait, () => {
        this.#timer = undefined;
        this.#flush();
      });
      return;
    }
    if (!this.#send(latest)) return;
    this.#sent = latest;
    this.#sentAt = this.#clock.monotonic();
  }
}
