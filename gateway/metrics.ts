/** What a gateway tells Prometheus. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { MachineCounts, MachineState, StateCounts } from "../coordination/machine-counts.ts";
import type { Protocol } from "../coordination/records.ts";
import type { SessionMeter } from "./agents/session.ts";
import type { EdgeMeter } from "./edge/server.ts";

export interface GatewayMetrics extends SessionMeter, EdgeMeter {
  readonly registry: Registry;
  reviewed(seconds: number, outcome: "accepted" | "refused" | "unavailable"): void;
  /** A stream or a call that was turned away before it had a session. */
  turnedAway(reason: string): void;
  enrolled(call: "join" | "renew", outcome: "issued" | "refused" | "unavailable"): void;
  /** A machine without our agent asked for its slot, or gave it back. */
  slotAsked(protocol: Protocol, call: string, outcome: string): void;
  /** `outcome`: `offered`, `ping`, `event`, `refused`, or the reason for which nothing was offered. */
  omahaAnswered(outcome: string): void;
  omahaUnknown(kind: "attribute" | "element" | "event", count: number): void;
  /** A place of payloads, `directory` or `registry`, could not be asked. */
  payloadsFailed(place: string): void;
  /** `call`: its id in CoreUpdate's discovery document. */
  coreUpdateAnswered(call: string, status: number): void;
}

/** Versions with a series of their own, most common first; the others are told together as "other". */
const MOST_VERSIONS = 16;

/** `read` is asked at each scrape. */
export function createGatewayMetrics(read: {
  /** Sessions by the agent's version. */
  versions: () => ReadonlyMap<string, number>;
  connections: () => number;
  hasLease: () => boolean;
  /** Machines without our agent that wait for an answer. */
  waiting: () => number;
  /** Machines without our agent, by group, version and state. */
  machines: () => MachineCounts["groups"];
  /** Key spaces of etcd's v2 API, and how full each is. */
  spaces: () => Iterable<[space: string, share: number]>;
}): GatewayMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const gauge = (name: string, help: string, value: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });

  const sessions: Gauge = new Gauge({
    name: "slipway_gateway_sessions",
    help: "Agents that have a session here, by their version.",
    labelNames: ["version"],
    registers,
    collect() {
      sessions.reset();
      for (const [version, count] of commonVersions(read.versions())) sessions.set({ version }, count);
    },
  });
  gauge("slipway_gateway_connections", "Open connections, with or without a session.", read.connections);
  gauge("slipway_gateway_presence_lease", "1 while the lease of our agents' presence lives.", () =>
    read.hasLease() ? 1 : 0,
  );
  gauge(
    "slipway_gateway_slots_waiting",
    "Machines without our agent that wait here for a slot.",
    read.waiting,
  );
  const machines: Gauge = new Gauge({
    name: "slipway_gateway_machines",
    help: "Machines without our agent that are known: idle, updating, or failed (idle, with a release that it is not offered again). Each gateway tells of all.",
    labelNames: ["group", "version", "state"],
    registers,
    collect() {
      machines.reset();
      for (const [group, versions] of read.machines()) {
        for (const [labels, count] of machineSeries(versions)) machines.set({ group, ...labels }, count);
      }
    },
  });
  const spaces: Gauge = new Gauge({
    name: "slipway_gateway_registry_fullness_ratio",
    help: "Share of its keys or bytes that a key space has taken: at 1 what would add to it is refused. Of those that were read here.",
    labelNames: ["space"],
    registers,
    collect() {
      spaces.reset();
      for (const [space, share] of read.spaces()) spaces.set({ space }, share);
    },
  });
  const messages = counter("slipway_gateway_messages_total", "Messages of sessions.", ["direction", "kind"]);
  const commits = counter("slipway_gateway_commits_total", "Commits that were answered.", [
    "answer",
    "reason",
  ]);
  const ended = counter("slipway_gateway_sessions_ended_total", "Sessions that ended.", ["reason"]);
  const away = counter("slipway_gateway_turned_away_total", "Streams and calls turned away at the door.", [
    "reason",
  ]);
  const unavailable = counter("slipway_gateway_etcd_unavailable_total", "Calls that etcd did not answer.", [
    "call",
  ]);
  const enrolled = counter("slipway_gateway_certificates_total", "Certificate requests of machines.", [
    "call",
    "outcome",
  ]);
  const reviews = new Histogram({
    name: "slipway_gateway_token_review_seconds",
    help: "Length of a TokenReview.",
    labelNames: ["outcome"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });

  const slots = counter(
    "slipway_gateway_slot_requests_total",
    "Calls of machines without our agent for their slot.",
    ["protocol", "call", "outcome"],
  );
  const omaha = counter(
    "slipway_gateway_omaha_apps_total",
    "Apps of Omaha requests, by what they were answered.",
    ["outcome"],
  );
  const unknown = counter(
    "slipway_gateway_omaha_unknown_total",
    "What Omaha requests held that nothing is known of, and that was passed over: attributes, elements, and events by their type and result.",
    ["kind"],
  );
  const payloads = counter(
    "slipway_gateway_payload_failures_total",
    "Requests for which a place of payloads, directory or registry, could not be asked.",
    ["place"],
  );
  const coreUpdate = counter(
    "slipway_gateway_coreupdate_requests_total",
    "Requests of CoreUpdate's API, by the call's id in its discovery document.",
    ["call", "code"],
  );
  const requests = new Histogram({
    name: "slipway_gateway_request_seconds",
    help: "From a request of a machine without our agent to its answer.",
    labelNames: ["route", "code"],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
    registers,
  });

  // Looked up by the labels' text otherwise, which costs more than many an answer.
  const children = new Map<string, ReturnType<typeof requests.labels>>();
  const answered = (route: string, code: string): ReturnType<typeof requests.labels> => {
    const key = `${route} ${code}`;
    const known = children.get(key) ?? requests.labels({ route, code });
    children.set(key, known);
    return known;
  };

  return {
    registry,
    received: (kind) => messages.inc({ direction: "received", kind }),
    sent: (kind) => messages.inc({ direction: "sent", kind }),
    commit: (answer, reason) => commits.inc({ answer, reason }),
    unavailable: (call) => unavailable.inc({ call }),
    ended: (reason) => ended.inc({ reason }),
    reviewed: (seconds, outcome) => reviews.observe({ outcome }, seconds),
    turnedAway: (reason) => away.inc({ reason }),
    enrolled: (call, outcome) => enrolled.inc({ call, outcome }),
    slotAsked: (protocol, call, outcome) => slots.inc({ protocol, call, outcome }),
    omahaAnswered: (outcome) => omaha.inc({ outcome }),
    omahaUnknown: (kind, count) => unknown.inc({ kind }, count),
    payloadsFailed: (place) => payloads.inc({ place }),
    coreUpdateAnswered: (call, status) => coreUpdate.inc({ call, code: `${Math.floor(status / 100)}xx` }),
    answered: (route, status, seconds) => answered(route, `${Math.floor(status / 100)}xx`).observe(seconds),
  };
}

/** Of one group: its most common versions by name. */
export function machineSeries(
  versions: ReadonlyMap<string, StateCounts>,
): [labels: { version: string; state: string }, count: number][] {
  const sizes = new Map(
    [...versions].map(
      ([version, { Idle, Updating, Failed }]) => [version, Idle + Updating + Failed] as const,
    ),
  );
  const common = commonVersions(sizes);
  const told = new Map<string, Record<MachineState, number>>();
  for (const [version, counts] of versions) {
    const name = common.has(version) ? version : "other";
    const sum = told.get(name) ?? { Idle: 0, Updating: 0, Failed: 0 };
    for (const state of ["Idle", "Updating", "Failed"] as const) sum[state] += counts[state];
    told.set(name, sum);
  }
  return [...told].flatMap(([version, { Idle, Updating, Failed }]) => [
    [{ version, state: "idle" }, Idle],
    [{ version, state: "updating" }, Updating],
    [{ version, state: "failed" }, Failed],
  ]);
}

/** At least one series, so that a gateway without agents is told from none. An agent says its version itself: what is no version is "other". */
export function commonVersions(versions: ReadonlyMap<string, number>): Map<string, number> {
  const told = new Map<string, number>();
  const common = [...versions].toSorted(([, a], [, b]) => b - a);
  for (const [version, count] of common) {
    const known = told.size < MOST_VERSIONS && /^\d{1,5}(\.\d{1,5}){1,2}([-+.][\w.+-]{1,32})?$/.test(version);
    const name = known ? version : "other";
    told.set(name, (told.get(name) ?? 0) + count);
  }
  if (told.size === 0) told.set("other", 0);
  return told;
}
