/** What a boot brings up on a machine, as its power and firmware see it. */
export interface System {
  /** Once, before the first boot: what the host hook's callers need beside `paths.hook`. */
  prepare(): void;
  /** Brings user space up for this boot; returns when its first process is started. Nothing comes up after `stop`. */
  start(boot: BootedSlot): Promise<void>;
  /** The power is gone: nothing of the boot runs any more when this resolves. */
  stop(): Promise<void>;
  /** Whether a unit of the slot is active. */
  unitActive(unit: string): Promise<boolean>;
  /** The agent, where it is a process of ours. */
  readonly agent: { pid: number; kill(): Promise<void>; signal(signal: NodeJS.Signals): void } | undefined;
  /**
   * The agent's Pod is deleted: the agent gets SIGTERM, its token is worth nothing any more, and
   * one with that of the next Pod is started. Nothing happens where the agent is no process of ours.
   */
  replaceAgent(): Promise<void>;
}

export interface BootedSlot {
  bootId: string;
  version: string;
  /** Unique partition GUID of the slot, lower case. */
  partition: string;
}
