/**
 * Test support: a machine with two slots, firmware that follows gptprio, a dead man's
 * switch, a power switch, and the agent that runs on it. Every act of the agent on it is
 * counted, so that a test can cut the power, or kill the agent, right after any of them.
 */
import type { Why } from "../api/reasons.ts";
import type { BootSlot, SlotName } from "../fastpatch/boot-control.ts";
import type { Disk } from "../fastpatch/disk.ts";
import { silentLogger } from "../ports/log.ts";
import { type Agent, createAgent } from "./agent.ts";
import type { Driver, Label, Machine } from "./driver.ts";
import type { FakeClock } from "./fake-clock.ts";
import type { FakeGateway } from "./fake-gateway.ts";
import type { Host, RebootMethod } from "./host.ts";
import { other } from "./situation.ts";

export interface Fault {
  /** Number of the act after which it strikes, from 1. */
  after: number;
  kind: "kill-agent" | "power-cut" | "drop-session";
}

/** A disk in memory; a power cut keeps what was flushed. */
export class MemoryDisk implements Disk {
  readonly size: number;
  readonly sectorSize = 512;
  bytes: Buffer;
  #durable: Buffer;

  constructor(size: number) {
    this.size = size;
    this.bytes = Buffer.alloc(size);
    this.#durable = Buffer.alloc(size);
  }

  read = async (offset: number, length: number): Promise<Buffer> =>
    Buffer.from(this.bytes.subarray(offset, offset + length));
  write = async (offset: number, data: Uint8Array): Promise<void> => {
    this.bytes.set(data, offset);
  };
  flush = async (): Promise<void> => {
    this.#durable = Buffer.from(this.bytes);
  };
  dropCache = async (): Promise<"direct"> => "direct";
  close = async (): Promise<void> => {};
  powerCut(): void {
    this.bytes = Buffer.from(this.#durable);
  }
}

const never = new Promise<never>(() => {});

export class FakeMachine {
  readonly clock: FakeClock;
  readonly gateway: FakeGateway;
  readonly state = new MemoryDisk(64 * 1024);
  slots: BootSlot[] = (["A", "B"] as const).map((name) => ({
    name,
    priority: name === "A" ? 1 : 0,
    tries: 0,
    successful: name === "A",
    offset: 0,
    size: 0,
    partition: name,
  }));
  labels: Record<SlotName, Label | undefined> = { A: { version: "1.0.0", rootHash: "a" }, B: undefined };
  /** Root hashes whose boot checks pass. */
  healthy = new Set(["a", "b"]);
  /** Root hashes that panic before an agent starts. */
  panics = new Set<string>();
  running: SlotName = "A";
  marker: string | undefined;
  driver: "fastpatch" | "sentinel" = "fastpatch";
  boots = 0;
  softReboots = 0;
  log: string[] = [];
  faults: readonly Fault[] = [];
  acts = 0;
  armed: (() => void) | undefined;
  armFails = false;
  rebootRefused: string | undefined;
  /** The reboot call is accepted and nothing happens. */
  rebootIgnored = false;
  stageFails: Error | undefined;
  /** Why what is staged may not boot. */
  objection: Why | undefined;
  /** Why the driver can't tell how the machine stands. */
  observeFails: Error | undefined;
  /** Times that the driver was asked to look, in monotonic ms. */
  looks: number[] = [];
  /** Called before each act, for what a test wants to see or do at that moment. */
  before: (act: string) => void = () => {};
  #stop = new AbortController();
  #agent: Agent | undefined;
  /** Ends whatever an agent that was killed still does. */
  #life = 0;

  constructor(clock: FakeClock, gateway: FakeGateway) {
    this.clock = clock;
    this.gateway = gateway;
    this.boots = 1;
  }

  get agent(): Agent | undefined {
    return this.#agent;
  }

  get bootId(): string {
    return `boot-${this.boots}`;
  }

  bits(name: SlotName): BootSlot {
    const slot = this.slots.find((each) => each.name === name);
    if (slot === undefined) throw new Error(name);
    return slot;
  }

  startAgent(): void {
    const life = ++this.#life;
    const stop = new AbortController();
    this.#stop = stop;
    const { clock } = this;
    const agent = createAgent({
      host: this.#host(life),
      driver: this.#driver(life),
      state: this.#guarded(life),
      transport: this.gateway.transport(() => life === this.#life),
      clock: {
        now: () => clock.now(),
        monotonic: () => clock.monotonic(),
        after: (wait, fn) => clock.after(wait, () => life === this.#life && fn()),
      },
      random: { next: () => 0.5, uuid: () => "uuid" },
      log: silentLogger,
      runningVersion: "1.0.0",
      agentVersion: "test",
    });
    this.#agent = agent;
    void agent.run(stop.signal).catch((error: unknown) => this.log.push(`agent: ${String(error)}`));
  }

  /** SIGTERM. */
  stopAgent(): void {
    this.#stop.abort(new Error("SIGTERM"));
  }

  /** SIGKILL. */
  killAgent(): void {
    this.#life += 1;
    this.gateway.drop();
  }

  powerCut(): void {
    this.killAgent();
    this.state.powerCut();
    this.#boot();
  }

  restartAgent(): void {
    this.killAgent();
    this.startAgent();
  }

  /** `jump`: the next slot is started without its firmware's doing. */
  #boot(jump = false): void {
    this.boots += 1;
    this.softReboots = 0;
    const candidates = this.slots.filter(
      (slot) => slot.priority > 0 && (slot.tries > 0 || slot.successful || jump),
    );
    const [chosen] = candidates.sort((a, b) => b.priority - a.priority);
    if (chosen === undefined) throw new Error("no such partition");
    if (chosen.tries > 0 && !jump) chosen.tries -= 1;
    this.running = chosen.name;
    const hash = this.labels[chosen.name]?.rootHash ?? "";
    this.log.push(`boot ${chosen.name}`);
    if (this.panics.has(hash)) {
      this.clock.after(10_000, () => this.#boot());
      return;
    }
    const { boots } = this;
    this.clock.after(20_000, () => {
      if (boots === this.boots) this.startAgent();
    });
  }

  /** The act is done; whether the one who asked for it hears of that is another question. */
  async #act<T>(life: number, name: string, work: () => T): Promise<T> {
    if (life !== this.#life) return never;
    this.before(name);
    if (life !== this.#life) return never;
    this.acts += 1;
    if (name !== "save") this.log.push(name);
    const result = work();
    const fault = this.faults.find(({ after }) => after === this.acts);
    if (fault !== undefined && life === this.#life) {
      this.log.push(fault.kind);
      if (fault.kind === "power-cut") this.powerCut();
      else if (fault.kind === "kill-agent") this.restartAgent();
      else this.gateway.drop();
    }
    return life === this.#life ? result : never;
  }

  #guarded(life: number): Disk {
    const { state } = this;
    return {
      size: state.size,
      sectorSize: 512,
      read: (offset, length) => (life === this.#life ? state.read(offset, length) : never),
      write: (offset, data) => (life === this.#life ? state.write(offset, data) : never),
      flush: () => this.#act(life, "save", () => void state.flush()),
      dropCache: async () => "direct",
      close: async () => {},
    };
  }

  #host(life: number): Host {
    return {
      machineId: "0123456789abcdef0123456789abcdef",
      architecture: "amd64",
      boot: { id: this.bootId, softReboots: this.softReboots },
      armDeadMan: (seconds) =>
        this.#act(life, "arm", () => {
          if (this.armFails) throw new Error("no timer");
          this.armed?.();
          const cancel = this.clock.after(seconds * 1000, () => {
            this.armed = undefined;
            this.log.push("dead-man");
            this.powerCut();
          });
          this.armed = () => {
            cancel();
            this.armed = undefined;
          };
        }),
      disarmDeadMan: () => this.#act(life, "disarm", () => this.armed?.()),
      reboot: (method: RebootMethod) =>
        this.#act(life, `reboot ${method}`, () => {
          if (this.rebootRefused !== undefined) throw new Error(this.rebootRefused);
          this.gateway.rebooted(this.bits(this.running).successful, this.armed !== undefined);
          if (this.rebootIgnored) return;
          this.killAgent();
          this.#boot(method === "Kexec");
        }),
      unitActive: async () => this.healthy.has(this.labels[this.running]?.rootHash ?? ""),
      runCommand: async () => 1,
      httpOk: async () => false,
    };
  }

  #driver(life: number): Driver {
    const change = (name: string, work: () => void): Promise<void> => this.#act(life, name, work);
    return {
      name: this.driver,
      observe: async (): Promise<Machine> => {
        if (life !== this.#life) return never;
        this.looks.push(this.clock.monotonic());
        if (this.observeFails !== undefined) throw this.observeFails;
        if (this.driver === "sentinel") return { kind: "sentinel", marker: this.marker };
        const slots = this.slots.map((slot) => ({ ...slot }));
        return { kind: "slots", running: this.running, slots, labels: { ...this.labels } };
      },
      objection: async () => (life === this.#life ? this.objection : never),
      stage: async (target, { signal, onProgress }) => {
        await change("stage", () => {
          if (this.stageFails) throw this.stageFails;
          this.labels[other(this.running)] = undefined;
        });
        onProgress({ phase: "Fetching", done: 1, total: 2, fetched: 1, reused: 0 });
        await new Promise<void>((resolve, reject) => {
          this.clock.after(3_000, resolve);
          signal.addEventListener("abort", () => reject(signal.reason));
        });
        await change("staged", () => {
          this.labels[other(this.running)] = { version: target.version, rootHash: target.rootHash };
        });
      },
      flip: (slot, tries) =>
        change(`flip ${slot} ${tries}`, () => {
          this.gateway.flipped(this.armed !== undefined);
          this.bits(other(slot)).priority = 1;
          Object.assign(this.bits(slot), { priority: 2, tries, successful: false });
        }),
      unflip: () =>
        change("unflip", () => {
          this.bits(this.running).priority = 2;
          const passive = this.bits(other(this.running));
          if (passive.successful) passive.priority = 1;
          else Object.assign(passive, { priority: 0, tries: 0 });
        }),
      markGood: (slot) =>
        change(`good ${slot}`, () => {
          Object.assign(this.bits(slot), { tries: 0, successful: true });
        }),
      markBad: (slot) =>
        change(`bad ${slot}`, () => {
          Object.assign(this.bits(slot), { priority: 0, tries: 0, successful: false });
        }),
    };
  }
}
