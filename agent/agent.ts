/**
 * The agent's loop: look, decide, do one thing, look again. Everything that it touches is
 * a port, so the simulation runs this very loop.
 */
import type { Why } from "../api/reasons.ts";
import type { Disk } from "../fastpatch/disk.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { Observed } from "../proto/gen/agent_pb.ts";
import type { Decision, Next } from "./decision.ts";
import type { Driver, Machine } from "./driver.ts";
import { GatewayLink } from "./gateway-link.ts";
import { gatewayCheck, runChecks } from "./health.ts";
import type { Host } from "./host.ts";
import { freshMemory } from "./memory.ts";
import { hello } from "./messages.ts";
import { askObjection } from "./objection.ts";
import { decide } from "./policy.ts";
import { observe, Reporter } from "./report.ts";
import { defaultLimits, type Objection, type Run, type Situation, why } from "./situation.ts";
import { Staging } from "./staging.ts";
import { openState, type StateLog } from "./state.ts";
import type { Transport } from "./transport.ts";

/** The machine is looked at again after this time, ms, whatever happens. */
const LOOK_AGAIN = 30_000;
/** Wait after an act that failed, ms; after looks that failed it doubles, up to `LOOK_AGAIN`. */
const AFTER_FAILURE = 5_000;
/** Acts without a wait in between after which something must be wrong with the machine. */
const MAX_HASTE = 40;

export interface AgentOptions {
  host: Host;
  driver: Driver;
  /** Where the memory is kept: the partition SLIPWAY-STATE. */
  state: Disk;
  transport: Transport;
  clock: Clock;
  random: Random;
  log: Logger;
  /** VERSION_ID of os-release, for a running slot without a label. */
  runningVersion: string;
  agentVersion: string;
}

export interface Agent {
  /** Runs until `signal` aborts; then undoes what is half done and resolves. Rejects if the state partition can't be read. */
  run(signal: AbortSignal): Promise<void>;
  /** What was last reported; undefined before the first look. */
  readonly observed: Observed | undefined;
  readonly connected: boolean;
}

export function createAgent(options: AgentOptions): Agent {
  return new Loop(options);
}

class Loop implements Agent {
  readonly #options: AgentOptions;
  readonly #run: Run;
  readonly #link: GatewayLink;
  readonly #reporter: Reporter;
  readonly #staging: Staging;
  #state: StateLog | undefined;
  #memory = freshMemory();
  #last: Decision | undefined;
  #machine: Machine | undefined;
  #objection: Objection | undefined;
  /** The machine may have changed since the last look. */
  #stale = true;
  #lookedAt = 0;
  /** Looks that failed in a row. */
  #unseen = 0;
  #said = { key: "", since: 0 };
  #dirty = false;
  #wake: (() => void) | undefined;
  #haste = 0;

  constructor(options: AgentOptions) {
    const { clock, random, log, transport, driver, host } = options;
    this.#options = options;
    this.#run = {
      startedAt: clock.monotonic(),
      switch: "unknown",
      commit: undefined,
      asked: undefined,
      rebootAskedAt: undefined,
      failure: undefined,
      checks: undefined,
      staging: undefined,
      stagingFailed: undefined,
    };
    this.#reporter = new Reporter(clock, (observed) => this.#link.report(observed));
    this.#staging = new Staging({
      driver,
      clock,
      random,
      log,
      run: this.#run,
      changed: (what) => (what === "progress" ? this.#progressed() : this.#touched()),
    });
    this.#link = new GatewayLink({
      transport,
      clock,
      random,
      log,
      host,
      run: this.#run,
      hello: () => hello(host, options.agentVersion, this.#reporter.forHello()),
      opened: () => this.#reporter.carried(),
      changed: () => this.#notify(),
    });
  }

  get observed(): Observed | undefined {
    return this.#reporter.latest;
  }

  get connected(): boolean {
    return this.#link.state.connected;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, log } = this.#options;
    this.#state = await openState(state);
    this.#memory = this.#state.memory;
    log.info("state read", { condition: this.#state.condition, act: this.#memory.act?.step });
    if (this.#state.condition === "lost") {
      log.error("both copies of the state are damaged", new Error("the boot bits are the only evidence now"));
    }
    const onAbort = (): void => this.#notify();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) await this.#turn(signal);
      await this.#settle();
    } finally {
      signal.removeEventListener("abort", onAbort);
      await this.#staging.abort();
      this.#reporter.stop();
      this.#link.stop();
    }
  }

  /** One look, one decision, one act. */
  async #turn(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    this.#dirty = false;
    let decision: Decision;
    try {
      decision = decide(await this.#look());
      this.#unseen = 0;
    } catch (error) {
      log.error("can't look at the machine", error);
      this.#stale = true;
      // What was seen last stays, and nothing is concluded; before the first look nothing is said.
      if (this.#last !== undefined)
        this.#say({ ...this.#last, why: why("MachineUnreadable", messageOf(error)) });
      this.#link.start();
      await this.#pause(Math.min(AFTER_FAILURE * 2 ** this.#unseen, LOOK_AGAIN), signal);
      this.#unseen += 1;
      return;
    }
    this.#say(decision);
    this.#link.start();
    if (decision.next.kind === "Wait") {
      this.#haste = 0;
      await this.#rest(Math.min(decision.wakeAfter ?? LOOK_AGAIN, LOOK_AGAIN));
      return;
    }
    await this.#attempt(decision, signal);
  }

  async #attempt({ next }: Decision, signal: AbortSignal): Promise<void> {
    try {
      await this.#perform(next);
    } catch (error) {
      this.#options.log.error("an act failed", error, { act: next.kind });
      const failure = failed(next, error);
      const licensed =
        next.kind === "Arm" || next.kind === "Flip" || (next.kind === "Reboot" && next.before !== null);
      if (licensed) {
        this.#run.failure = failure;
        return;
      }
      this.#stale = true;
      if (this.#last !== undefined) this.#say({ ...this.#last, why: failure });
      await this.#pause(AFTER_FAILURE, signal);
    }
    this.#haste += 1;
    if (this.#haste % MAX_HASTE === 0) {
      this.#options.log.error("the machine does not do what it is told", new Error(`again ${next.kind}`));
      await this.#pause(AFTER_FAILURE, signal);
    }
  }

  async #perform(next: Next): Promise<void> {
    const { host, driver, clock, log } = this.#options;
    const run = this.#run;
    if (next.kind !== "RunChecks" && next.kind !== "Wait") log.info("act", { act: next.kind });
    switch (next.kind) {
      case "Wait":
        return;
      case "Save":
        await this.#state?.write(next.memory);
        this.#memory = next.memory;
        if (next.memory.act === null) {
          run.failure = undefined;
          run.commit = undefined;
          run.rebootAskedAt = undefined;
        }
        return;
      case "Stage":
        if (this.#link.state.desired)
          this.#staging.start(next.target, this.#link.state.desired, this.#memory.machine.floor);
        return;
      case "AbortStage":
        await this.#staging.abort();
        return;
      case "AskCommit":
        this.#link.askCommit(next.token);
        return;
      case "Reconnect":
        this.#link.reconnect();
        return;
      case "Arm":
        run.switch = "unknown";
        await host.armDeadMan(next.seconds);
        run.switch = "armed";
        return;
      case "Disarm":
        await host.disarmDeadMan();
        run.switch = "disarmed";
        return;
      case "Flip":
        this.#stale = true;
        await driver.flip(next.slot, next.tries);
        return;
      case "Unflip":
        this.#stale = true;
        await driver.unflip();
        return;
      case "MarkGood":
        this.#stale = true;
        await driver.markGood(next.slot);
        return;
      case "MarkBad":
        this.#stale = true;
        await driver.markBad(next.slot);
        return;
      case "RunChecks": {
        const failing = await runChecks(host, clock, next.checks, next.until);
        // A system that nobody can reach is not kept.
        if (!this.#link.state.handshake) failing.push(gatewayCheck);
        run.checks = { at: clock.monotonic(), failing };
        return;
      }
      case "Withdraw":
      case "Return":
        this.#link.tell(next);
        return;
      case "Reboot":
        // The last look at the clock: whatever froze this process before here can't make it reboot late.
        if (next.before !== null && clock.monotonic() >= next.before) return;
        run.rebootAskedAt = clock.monotonic();
        try {
          await host.reboot(next.method);
        } catch (error) {
          run.rebootAskedAt = undefined;
          throw error;
        }
    }
  }

  async #look(): Promise<Situation> {
    const { driver, clock } = this.#options;
    const now = clock.monotonic();
    if (this.#machine === undefined || this.#stale || now - this.#lookedAt >= LOOK_AGAIN) {
      this.#stale = false;
      this.#machine = await driver.observe();
      this.#lookedAt = now;
    }
    const { floor } = this.#memory.machine;
    this.#objection = await askObjection(driver, this.#machine, this.#link.state, floor);
    return this.#situation(this.#machine);
  }

  #situation(machine: Machine): Situation {
    const { clock, host, runningVersion } = this.#options;
    return {
      memory: this.#memory,
      boot: host.boot,
      architecture: host.architecture,
      runningVersion,
      machine,
      link: this.#link.state,
      objection: this.#objection,
      run: this.#run,
      now: clock.monotonic(),
      wall: clock.now(),
      limits: defaultLimits,
    };
  }

  /** Reports and, where it is new, logs what the agent does and why. */
  #say(decision: Decision): void {
    const { clock, host, log } = this.#options;
    this.#last = decision;
    if (this.#machine === undefined) return;
    const { reason, message } = decision.why;
    const key = `${decision.step} ${reason} ${message}`;
    if (key !== this.#said.key) {
      this.#said = { key, since: clock.now() };
      log.info("step", { step: decision.step, reason, detail: message });
    }
    this.#reporter.offer(observe(this.#situation(this.#machine), decision, host.machineId, this.#said.since));
  }

  #progressed(): void {
    if (this.#machine !== undefined) this.#say(decide(this.#situation(this.#machine)));
  }

  /** The machine changed. */
  #touched(): void {
    this.#stale = true;
    this.#notify();
  }

  #notify(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  /** Until something happens, or `milliseconds` passed. */
  async #rest(milliseconds: number): Promise<void> {
    if (this.#dirty) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(milliseconds, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  async #pause(milliseconds: number, signal: AbortSignal): Promise<void> {
    await sleep(this.#options.clock, milliseconds, signal).catch(() => {});
  }

  /**
   * Before the process ends without having asked for the reboot: the answer in hand is
   * dropped, so the policy undoes flip and arming; the next process goes on from there.
   */
  async #settle(): Promise<void> {
    if (this.#memory.act === null || this.#run.rebootAskedAt !== undefined) return;
    this.#run.commit = undefined;
    for (let acts = 0; acts < 6; acts++) {
      try {
        const { next } = decide(await this.#look());
        if (next.kind !== "Save" && next.kind !== "Unflip" && next.kind !== "Disarm") return;
        await this.#perform(next);
      } catch (error) {
        this.#options.log.error("could not undo before the end", error);
        return;
      }
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function failed(next: Next, error: unknown): Why {
  const message = messageOf(error);
  switch (next.kind) {
    case "Arm":
    case "Disarm":
      return why("DeadManUnavailable", message);
    case "Reboot":
      return why("RebootRefused", message);
    case "Save":
      return why("StateNotWritten", message);
    default:
      return why("FlipFailed", message);
  }
}
