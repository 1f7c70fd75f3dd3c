/**
 * The independent observer: asks nobody of Slipway and imports nothing of it. It reads what
 * the machines' firmware recorded, and says how many were down at once.
 */
import { type BootEvent, readBootLog } from "../machine/boot-log.ts";

export interface Watched {
  name: string;
  zone: string;
  bootLog: string;
}

export interface Outage {
  machine: string;
  zone: string;
  /** Wall clock, ms. */
  from: number;
  /** Infinity while it lasts. */
  to: number;
  cause: string;
}

export interface Observation {
  outages: Outage[];
  mostDown: number;
  mostDownPerZone: Record<string, number>;
  /** Milliseconds down per machine. */
  downtime: Record<string, number>;
  /** Versions that each machine booted, in order. */
  boots: Record<string, string[]>;
  /** Machines whose firmware found nothing to boot. */
  stuck: string[];
}

/** What the boot logs say since `from` (wall clock, ms). */
export function observe(machines: readonly Watched[], from = 0, now = Date.now()): Observation {
  const logs = machines.map((machine) => ({ machine, events: readBootLog(machine.bootLog) }));
  const outages = logs
    .flatMap(({ machine, events }) => outagesOf(machine, events))
    .filter(({ to }) => to > from);
  const zones = [...new Set(machines.map(({ zone }) => zone))].toSorted();
  return {
    outages,
    mostDown: mostAtOnce(outages),
    mostDownPerZone: Object.fromEntries(
      zones.map((zone) => [zone, mostAtOnce(outages.filter((outage) => outage.zone === zone))]),
    ),
    downtime: Object.fromEntries(
      machines.map(({ name }) => [
        name,
        outages
          .filter(({ machine }) => machine === name)
          .reduce((sum, outage) => sum + Math.min(outage.to, now) - outage.from, 0),
      ]),
    ),
    boots: Object.fromEntries(
      logs.map(({ machine, events }) => [
        machine.name,
        events.filter((event) => event.event === "boot").map((event) => event.version),
      ]),
    ),
    stuck: logs
      .filter(({ events }) =>
        events.some((event) => event.event === "stuck" && event.message.includes("no such partition")),
      )
      .map(({ machine }) => machine.name),
  };
}

/** From each power-off to the next time that user space was up. The first boot is no outage. */
function outagesOf({ name, zone }: Watched, events: readonly BootEvent[]): Outage[] {
  const outages: Outage[] = [];
  let open: Outage | undefined;
  for (const event of events) {
    if (event.event === "off") {
      // A machine that panics or is reset while it is down stays in the same outage.
      open ??= { machine: name, zone, from: event.time, to: Number.POSITIVE_INFINITY, cause: event.cause };
    } else if (event.event === "up" && open !== undefined) {
      outages.push({ ...open, to: event.time });
      open = undefined;
    }
  }
  return open === undefined ? outages : [...outages, open];
}

/** The largest number of outages that overlap. */
export function mostAtOnce(outages: readonly Outage[]): number {
  return outages.reduce(
    (most, { from }) =>
      Math.max(most, outages.filter((other) => other.from <= from && from < other.to).length),
    0,
  );
}
