/**
 * A machine: a disk, the firmware that chooses a slot (hack/machine/gptprio.ts, which
 * shares no code with the engine), a power switch, a dead man's switch, and the agent's
 * process. What an image does when it boots is the world's secret: its defect.
 */
import { createAgent } from "../../agent/agent.ts";
import type { Driver } from "../../agent/driver.ts";
import type { Host } from "../../agent/host.ts";
import type { SlotName } from "../../fastpatch/boot-control.ts";
import { type Disk, region } from "../../fastpatch/disk.ts";
import { createGptPrio, type GptPrioOptions } from "../../fastpatch/gptprio.ts";
import { createTable, type Extent, referenceLayout } from "../../fastpatch/partition-table.ts";
import { gptprioNext, type NextBoot } from "../../hack/machine/gptprio.ts";
import type { Cancel } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { ProcessClock, SimClock } from "./clock.ts";
import { SimDisk } from "./disk.ts";
import { imageIn, install, simDriver } from "./image.ts";
import type { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";

const MIB = 1024 * 1024;
const SECTOR = 512;
/** Bytes of the state partition that the agent uses. */
const STATE = 64 * 1024;

/**
 * `panic`: the kernel reboots by itself. `hang`: nothing comes up, only the host's switch
 * ticks. `checks`: the boot checks fail. `notReady`: boot checks pass, the kubelet never
 * gets Ready.
 */
export type Defect = "panic" | "hang" | "checks" | "notReady";

export type DownCause = "reboot" | "power" | "dead-man" | "panic";

export type MachineEvent =
  /** The agent asked for a reboot. `good`: the running slot is marked good, so this is no recovery. */
  | { event: "reboot"; good: boolean }
  | { event: "down"; cause: DownCause }
  | { event: "boot"; slot: SlotName; image: string | undefined; bootId: string }
  | { event: "stuck"; message: string }
  /** The operating system runs. */
  | { event: "up" }
  /** What the firmware would boot next, or a slot's good mark, changed. */
  | { event: "bits"; next: SlotName | undefined; good: boolean };

/** What tests wrap to plant a bug. */
export interface MachinePlants {
  host?: (host: Host, machine: SimMachine) => Host;
  driver?: (driver: Driver, machine: SimMachine) => Driver;
  disk?: (disk: Disk, machine: SimMachine) => Disk;
}

export interface MachineOptions {
  name: string;
  /** "" for a machine that is no Node. */
  zone: string;
  plain: boolean;
  sim: SimClock;
  random: SeededRandom;
  network: Network;
  log: Logger;
  defectOf: (image: string, machine: SimMachine) => Defect | undefined;
  observer: (machine: SimMachine, event: MachineEvent) => void;
  plants: MachinePlants;
}

export class SimMachine {
  readonly name: string;
  readonly zone: string;
  readonly plain: boolean;
  readonly machineId: string;
  readonly disk: SimDisk;
  readonly #options: MachineOptions;
  readonly #random: SeededRandom;
  #slots: Record<SlotName, Extent> | undefined;
  #state: Extent = { offset: 0, size: 0 };
  power: "off" | "booting" | "up" = "off";
  running: SlotName = "A";
  image = "";
  bootId = "";
  /** It never comes back. */
  gone = false;
  /** Wall time of its processes is off by so many ms. */
  skew = 0;
  /** Armed: seconds from the start of each boot. */
  deadMan: number | undefined;
  agent: { clock: ProcessClock; stop: AbortController } | undefined;
  /** Called when the operating system is up, and when it is down. */
  onPower: (up: boolean) => void = () => {};
  #cancelDeadMan: Cancel = () => {};
  /** Rises with each power event: timers of an earlier life do nothing. */
  #life = 0;
  #bits = "";

  constructor(options: MachineOptions) {
    this.#options = options;
    this.#random = options.random;
    this.name = options.name;
    this.zone = options.zone;
    this.plain = options.plain;
    this.machineId = options.random.uuid().replaceAll("-", "");
    this.disk = new SimDisk(7 * MIB, options.random.fork());
  }

  /** Lays out the disk with `version` in slot A. */
  async make(version: string, image: string): Promise<void> {
    const disk = this.disk.immediate();
    const guid = (): string => this.#random.uuid();
    const layout = referenceLayout([guid(), guid(), guid(), guid()], { esp: MIB, slot: MIB, state: MIB });
    const extents = await createTable(disk, { diskGuid: guid(), partitions: layout });
    const [, A, B, state] = extents as [Extent, Extent, Extent, Extent];
    this.#slots = { A, B };
    this.#state = state;
    await install(region(disk, A.offset, A.size), version, image);
    this.disk.changed = () => this.#look();
  }

  // Power

  powerOn(): void {
    if (this.power !== "off" || this.gone) return;
    const life = ++this.#life;
    this.power = "booting";
    this.bootId = this.#random.uuid();
    const next = this.firmware(true);
    if (typeof next === "string") {
      this.#tell({ event: "stuck", message: next });
      return;
    }
    this.running = next.slot as SlotName;
    const image = imageIn((at, length) => this.disk.read(at, length), next.firstLba * SECTOR);
    this.image = image ?? "";
    this.#tell({ event: "boot", slot: this.running, image, bootId: this.bootId });
    const defect = image === undefined ? "panic" : this.#options.defectOf(image, this);
    this.#startDeadMan();
    if (defect === "panic") this.#later(life, 3000 + this.#random.below(5000), () => this.#down("panic"));
    else if (defect !== "hang") this.#later(life, 5000 + this.#random.below(10_000), () => this.#up(next));
  }

  /** The power goes; it comes back after `offFor` ms. */
  cutPower(offFor: number): void {
    if (this.power !== "off") this.#down("power", offFor);
  }

  /** It is taken away for good. */
  retire(): void {
    this.gone = true;
    if (this.power !== "off") this.#down("power");
  }

  #down(cause: DownCause, offFor = 2000 + this.#random.below(4000)): void {
    const life = ++this.#life;
    const wasUp = this.power === "up";
    this.power = "off";
    this.killAgent(false);
    this.#cancelDeadMan();
    if (cause === "reboot" || cause === "dead-man") this.disk.flush();
    else this.disk.powerCut();
    this.#tell({ event: "down", cause });
    if (wasUp) this.onPower(false);
    this.#later(life, offFor, () => this.powerOn());
  }

  #up(boot: NextBoot): void {
    this.power = "up";
    this.#tell({ event: "up" });
    this.onPower(true);
    const life = this.#life;
    this.#later(life, this.#random.below(4000), () => this.startAgent(boot.uuid));
    this.#partition = boot.uuid;
  }

  #partition = "";

  #later(life: number, milliseconds: number, work: () => void): void {
    this.#options.sim.at(milliseconds, () => {
      if (life === this.#life) work();
    });
  }

  #startDeadMan(): void {
    this.#cancelDeadMan();
    if (this.deadMan === undefined) return;
    const life = this.#life;
    this.#cancelDeadMan = this.#options.sim.at(this.deadMan * 1000, () => {
      if (life !== this.#life || this.deadMan === undefined) return;
      this.deadMan = undefined;
      this.#down("dead-man");
    });
  }

  /** What gptprio.next chooses, or why it can't. `use`: takes the try, as a boot does. */
  firmware(use: boolean): NextBoot | string {
    const scratch = new Map<number, Buffer>();
    const read = (lba: number, count: number): Buffer =>
      Buffer.concat(
        Array.from({ length: count }, (_, at) => scratch.get(lba + at) ?? this.disk.sector(lba + at)),
      );
    const write = (lba: number, data: Uint8Array): void => {
      if (use) this.disk.write(lba * SECTOR, data);
      else
        for (let at = 0; at < data.length; at += SECTOR)
          scratch.set(lba + at / SECTOR, Buffer.from(data.subarray(at, at + SECTOR)));
    };
    try {
      const next = gptprioNext(read, write, this.disk.size / SECTOR, SECTOR);
      if (use) this.disk.flush();
      return next;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Complete image in a slot. */
  imageIn(slot: SlotName): string | undefined {
    const extent = this.#slots?.[slot];
    if (extent === undefined) return undefined;
    return imageIn((at, length) => this.disk.read(at, length), extent.offset);
  }

  /** Whether the firmware sees the running slot as marked good: it would boot with no try left. */
  get good(): boolean {
    return this.#goodBits()[this.running];
  }

  #goodBits(): Record<SlotName, boolean> {
    // Attributes of the slot entries, the second and third of the table: successful is bit 56.
    const entries = this.disk.read(2 * SECTOR, SECTOR);
    return { A: entries[128 + 55] === 1, B: entries[256 + 55] === 1 };
  }

  /** Tells when the next boot or a good mark changed. */
  #look(): void {
    if (this.power === "off") return;
    const next = this.firmware(false);
    const slot = typeof next === "string" ? undefined : (next.slot as SlotName);
    const bits = `${slot} ${this.good}`;
    if (bits === this.#bits) return;
    this.#bits = bits;
    this.#tell({ event: "bits", next: slot, good: this.good });
  }

  #tell(event: MachineEvent): void {
    this.#options.observer(this, event);
  }

  // The agent's process

  startAgent(partition = this.#partition): void {
    if (this.power !== "up" || this.agent !== undefined) return;
    const { sim, log } = this.#options;
    const clock = sim.process(this.skew);
    const stop = new AbortController();
    this.agent = { clock, stop };
    void this.#run(clock, stop, partition).catch((error: unknown) => {
      log.error("the agent ended", error, { machine: this.name });
      if (!clock.alive) return;
      this.killAgent(true);
    });
  }

  async #run(clock: ProcessClock, stop: AbortController, partition: string): Promise<void> {
    const { plants, network, log } = this.#options;
    const random = this.#random.fork();
    const opened = this.disk.open(clock);
    const disk = plants.disk?.(opened, this) ?? opened;
    const options: GptPrioOptions = { disk, runningPartition: partition };
    const bootControl = await createGptPrio(options);
    const driver = simDriver({ disk, bootControl, clock, random, pace: 1500 });
    const host = this.#host(clock, stop);
    const agent = createAgent({
      host: plants.host?.(host, this) ?? host,
      driver: plants.driver?.(driver, this) ?? driver,
      state: region(disk, this.#state.offset, STATE),
      transport: network.transport(this.name, clock),
      clock,
      random,
      log: log.with({ agent: this.name }),
      runningVersion: "1.0.0",
      agentVersion: "sim",
    });
    await agent.run(stop.signal);
  }

  /** SIGKILL; its Pod or its service starts it again. */
  killAgent(again: boolean): void {
    const { agent } = this;
    if (agent === undefined) return;
    agent.clock.kill();
    this.agent = undefined;
    this.#options.network.break({ machine: this.name }, this.power === "up");
    if (again) this.#later(this.#life, 1000 + this.#random.below(8000), () => this.startAgent());
  }

  /** SIGTERM, and SIGKILL after the grace period. */
  stopAgent(): void {
    const { agent } = this;
    if (agent === undefined) return;
    agent.stop.abort(new Error("SIGTERM"));
    this.#later(this.#life, 1500, () => {
      if (this.agent === agent) this.killAgent(true);
    });
  }

  #host(clock: ProcessClock, stop: AbortController): Host {
    const act = <T>(work: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        clock.after(1 + this.#random.below(30), () => {
          try {
            resolve(work());
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
      });
    return {
      machineId: this.machineId,
      architecture: "amd64",
      boot: { id: this.bootId, softReboots: 0 },
      armDeadMan: (seconds) =>
        act(() => {
          this.deadMan = seconds;
          this.#startDeadMan();
        }),
      disarmDeadMan: () =>
        act(() => {
          this.deadMan = undefined;
          this.#cancelDeadMan();
        }),
      reboot: () =>
        act(() => {
          if (this.#random.chance(0.03)) throw new Error("an inhibitor holds the shutdown");
          this.#tell({ event: "reboot", good: this.good });
          const life = this.#life;
          if (this.#random.chance(0.5))
            this.#later(life, this.#random.below(500), () => stop.abort(new Error("SIGTERM")));
          this.#later(life, 500 + this.#random.below(2000), () => this.#down("reboot"));
        }),
      unitActive: () => act(() => this.#options.defectOf(this.image, this) !== "checks"),
      runCommand: () => act(() => 1),
      httpOk: () => act(() => false),
    };
  }
}
