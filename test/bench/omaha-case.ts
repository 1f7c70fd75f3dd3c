/** What the benchmark and its load generators tell each other. */

export interface Load {
  port: number;
  path: string;
  connections: number;
  /** Machines `first` to `first + machines - 1`. */
  first: number;
  machines: number;
  /** `check`: one ordinary check of one machine after the other. `update`: each goes its way from the offer to the boot. */
  plays: "check" | "update";
  group: string;
  /** What runs, and what is offered. */
  version: string;
  target: string;
  warmUp: number;
  lasts: number;
}

export interface Measured {
  requests: number;
  /** With those of the warm-up. */
  all: number;
  /** Answers but 200, or without what was expected. */
  failures: number;
  /** Answers that offered a release. */
  offers: number;
  /** Ms, of each request. */
  latencies: number[];
}

export const machineId = (n: number): string => n.toString(16).padStart(32, "0");
export const BOOT = "6f5c34a4-4b56-4c4b-a8d0-a9a3ac2f5f0e";
