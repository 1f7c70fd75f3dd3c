/**
 * The machine's power and boot record, written by its firmware: what an independent
 * observer reads. One JSON object a line.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";

export type BootEvent =
  | { time: number; event: "off"; cause: "reboot" | "power" | "dead-man" | "panic" | "exit" }
  | { time: number; event: "boot"; slot: string; partition: string; bootId: string; version: string }
  | { time: number; event: "up"; bootId: string }
  | { time: number; event: "stuck"; message: string };

export function record(file: string, event: BootEvent): void {
  appendFileSync(file, `${JSON.stringify(event)}\n`);
}

export function readBootLog(file: string): BootEvent[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as BootEvent);
}
