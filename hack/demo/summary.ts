/** What the independent observer saw, and whether it is what must be. */
import type { Observation, Watched } from "../cluster/observer.ts";

export function summary(
  machines: readonly Watched[],
  seen: Observation,
  limit: { total: number; perZone: number },
): { ok: boolean; text: string } {
  const zones = Object.entries(seen.mostDownPerZone);
  const ok =
    seen.mostDown <= limit.total &&
    zones.every(([, most]) => most <= limit.perZone) &&
    seen.stuck.length === 0 &&
    seen.mostDown > 0;
  const lines = [
    "",
    "What the observer saw in the machines' own boot logs:",
    "",
    `${"NODE".padEnd(10)} ${"ZONE".padEnd(7)} ${"DOWN".padEnd(8)} BOOTED`,
    ...machines.map(
      ({ name, zone }) =>
        `${name.padEnd(10)} ${zone.padEnd(7)} ${`${((seen.downtime[name] ?? 0) / 1000).toFixed(1)} s`.padEnd(8)} ${(seen.boots[name] ?? []).join(" -> ")}`,
    ),
    "",
    `Most nodes down at once: ${seen.mostDown} (limit ${limit.total}); ${zones.map(([zone, most]) => `${zone} ${most}`).join(", ")} (limit ${limit.perZone} per zone).`,
  ];
  if (seen.stuck.length > 0) lines.push(`Nothing to boot on: ${seen.stuck.join(", ")}.`);
  if (!ok) lines.push("This is not what must be.");
  return { ok, text: lines.join("\n") };
}
