/**
 * The machine around the agent, as a port. `systemd-host.ts` drives a real system;
 * `hook-host.ts` runs one executable with a verb, for systems without systemd and for the
 * reference machine of the demo and the tests; the simulation has its own.
 */

/** A soft reboot keeps the boot id and raises the count (systemd-soft-reboot.service(8)). */
export interface Boot {
  id: string;
  softReboots: number;
}

export type RebootMethod = "Reboot" | "Kexec" | "SoftReboot";

export interface Host {
  readonly machineId: string;
  /** "amd64" or "arm64". */
  readonly architecture: string;
  readonly boot: Boot;
  /**
   * Arms the dead man's switch (design, rule 11): after `seconds` the machine reboots
   * unless it was disarmed, and it stays armed through a reboot. Rejects if it could not
   * be armed: then there is no flip.
   */
  armDeadMan(seconds: number): Promise<void>;
  disarmDeadMan(): Promise<void>;
  /** Asks for the reboot and returns; the process is ended by it. Rejects if it was refused (an inhibitor, say). */
  reboot(method: RebootMethod): Promise<void>;
  /** Whether a unit is active. */
  unitActive(unit: string): Promise<boolean>;
  /** Runs a command of the machine's allow list; the exit code, or a rejection if it is not on the list. */
  runCommand(name: string, timeoutMs: number): Promise<number>;
  /** Whether an HTTP GET answers 2xx within the time. */
  httpOk(url: string, timeoutMs: number): Promise<boolean>;
}
