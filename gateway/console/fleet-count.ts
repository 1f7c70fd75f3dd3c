/** The fleet in numbers: what a page shows where machines are too many to show each. */
import type * as view from "../../console/contract.ts";

/** A fleet has tens of each; what more there is counts as `other`. */
const MOST = 200;
const OTHER = "other";

export function countFleet(machines: Iterable<view.Machine>): view.Fleet {
  let total = 0;
  const kinds = { node: 0, machine: 0, foreign: 0 };
  const states: view.Fleet["states"] = {};
  const zones = new Map<string, view.Fleet["zones"][number]>();
  const versions = new Map<string, number>();
  for (const { kind, state, zone, version } of machines) {
    total += 1;
    kinds[kind] += 1;
    states[state] = (states[state] ?? 0) + 1;
    const place = zones.has(zone) || zones.size < MOST ? zone : OTHER;
    const there = zones.get(place) ?? { zone: place, total: 0, states: {} };
    there.total += 1;
    there.states[state] = (there.states[state] ?? 0) + 1;
    zones.set(place, there);
    const known = versions.has(version) || versions.size < MOST ? version : OTHER;
    versions.set(known, (versions.get(known) ?? 0) + 1);
  }
  return {
    total,
    kinds,
    states,
    zones: [...zones.values()].toSorted((a, b) => (a.zone < b.zone ? -1 : 1)),
    versions: [...versions]
      .map(([version, count]) => ({ version, count }))
      .toSorted((a, b) => b.count - a.count || (a.version < b.version ? -1 : 1)),
    kubectl: "kubectl slipway status",
  };
}
