/**
 * Instances as CoreUpdate lists them: machines that speak Omaha, and the cluster's nodes and plain machines with our
 * agent, each once. Pure.
 */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { bareId } from "../omaha/request.ts";
import type { Catalogue } from "./catalogue.ts";
import type { ClientHistoryItem, ClientUpdate, RollupItem } from "./wire.ts";

/** Items of a list, where the client names no limit; and at most. */
const LIMIT = 1000;
const MAX_LIMIT = 10_000;

export interface Seen {
  machines: Iterable<[uid: string, machine: ForeignMachine]>;
  nodeUpdates: readonly NodeUpdate[];
  /** Wall clock, ms, up to which `nodeUpdates` are known. */
  asOf: number;
}

export interface Filter {
  appId?: string;
  clientId?: string;
  groupId?: string;
  version?: string;
  oem?: string;
  eventType?: string;
  eventResult?: string;
  /** Seconds since 1970; 0 for no bound, as the CLI sends it. */
  dateStart: number;
  dateEnd: number;
  limit: number;
  skip: number;
}

/** What a query asks for; what is no number counts as 0, which is none. */
export function filterOf(query: URLSearchParams): Filter {
  const number = (name: string): number => {
    const value = Number(query.get(name) ?? 0);
    return Number.isFinite(value) && value > 0 ? Math.floor(value) : 0;
  };
  const texts = ["clientId", "groupId", "version", "oem", "eventType", "eventResult"] as const;
  const given = texts.flatMap((name): [string, string][] => {
    const value = query.get(name) ?? "";
    return value === "" ? [] : [[name, value]];
  });
  const appId = query.get("appId") ?? "";
  return {
    ...Object.fromEntries(given),
    ...(appId === "" ? {} : { appId: bareId(appId) }),
    ...{ dateStart: number("dateStart"), dateEnd: number("dateEnd"), skip: number("skip") },
    limit: Math.min(number("limit") || LIMIT, MAX_LIMIT),
  };
}

/** All that match, those that were seen last first; `limit` and `skip` are the caller's to apply. */
export function instancesOf(catalogue: Catalogue, seen: Seen, filter: Filter): ClientUpdate[] {
  const ours = new Set(seen.nodeUpdates.map(clientIdOf));
  const all = [
    ...seen.nodeUpdates.map((one) => instanceOfNode(catalogue, one, seen.asOf)),
    ...[...seen.machines].flatMap(([uid, machine]) => (ours.has(uid) ? [] : [instanceOfMachine(machine)])),
  ];
  return all
    .filter((one) => matches(one, filter))
    .toSorted(
      (a, b) => (b.lastSeen ?? "").localeCompare(a.lastSeen ?? "") || (a.clientId < b.clientId ? -1 : 1),
    );
}

function instanceOfMachine(machine: ForeignMachine): ClientUpdate {
  const { id, product, group, version, oem, lastSeen } = machine;
  const [eventType, eventResult, errorCode] = lastEvent(machine) ?? [];
  return {
    ...{ appId: product, clientId: id, groupId: group, version, oem, lastSeen: timeText(lastSeen) },
    ...(eventType === undefined
      ? {}
      : { eventType, eventResult: eventResult ?? "", errorCode: errorCode ?? "" }),
  };
}

/** As far as the state of its update tells; the events themselves are in its history. */
function lastEvent({ update, why, failed }: ForeignMachine): [string, string, string] | undefined {
  switch (update?.state) {
    case "Downloading":
      return ["13", "1", "0"];
    case "Downloaded":
      return ["14", "1", "0"];
    case "Staged":
      return ["3", "1", "0"];
    case "Held":
      return ["800", "1", "0"];
    default: {
      const [failure] = failed;
      return why?.reason === "NeverAgain" && failure !== undefined
        ? ["3", "0", String(failure.code)]
        : undefined;
    }
  }
}

function instanceOfNode(catalogue: Catalogue, update: NodeUpdate, asOf: number): ClientUpdate {
  const { spec, status } = update;
  const last = historyOfNode(update)[0];
  return {
    appId: appOfNode(catalogue, update),
    ...{ clientId: clientIdOf(update), groupId: spec.group, version: status?.running ?? "" },
    ...(status?.connected === true ? { lastSeen: timeText(asOf) } : {}),
    ...(last === undefined
      ? {}
      : { eventType: last.eventType, eventResult: last.eventResult, errorCode: last.errorCode }),
  };
}

function clientIdOf({ spec, status, metadata }: NodeUpdate): string {
  return status?.machineId ?? spec.machineRef?.machineId ?? spec.nodeName ?? metadata.name;
}

/** The product of what it runs, or should. */
function appOfNode({ releases }: Catalogue, { spec, status }: NodeUpdate): string {
  const named = [status?.verifiedRelease, spec.release];
  const release =
    releases.find(({ metadata }) => named.includes(metadata.name)) ??
    releases.find((one) => one.spec.version === status?.running);
  return release === undefined ? "" : bareId(release.spec.product);
}

function matches(one: ClientUpdate, filter: Filter): boolean {
  const { appId, clientId, groupId, version, oem, eventType, eventResult, dateStart, dateEnd } = filter;
  const seen = one.lastSeen === undefined ? undefined : Date.parse(one.lastSeen) / 1000;
  return (
    same(appId, one.appId) &&
    same(clientId, one.clientId) &&
    same(groupId, one.groupId) &&
    same(version, one.version) &&
    same(oem, one.oem) &&
    same(eventType, one.eventType) &&
    same(eventResult, one.eventResult) &&
    (dateStart === 0 || (seen !== undefined && seen >= dateStart)) &&
    (dateEnd === 0 || (seen !== undefined && seen <= dateEnd))
  );
}

function same(wanted: string | undefined, value: string | undefined): boolean {
  return wanted === undefined || wanted === value;
}

/** By application, group and version. */
export function versionsOf(
  instances: readonly ClientUpdate[],
): { appId: string; groupId: string; version: string; count: number }[] {
  const counts = new Map<string, { appId: string; groupId: string; version: string; count: number }>();
  for (const { appId, groupId, version } of instances) {
    const key = JSON.stringify([appId, groupId, version]);
    const known = counts.get(key) ?? { appId, groupId, version, count: 0 };
    counts.set(key, { ...known, count: known.count + 1 });
  }
  return [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** Newest first, of a node or of `machine`; of one that is not known, nothing. */
export function historyOf(
  { nodeUpdates }: Pick<Seen, "nodeUpdates">,
  machine: ForeignMachine | undefined,
  clientId: string,
): ClientHistoryItem[] {
  const node = nodeUpdates.find((one) => clientIdOf(one) === clientId || one.spec.nodeName === clientId);
  if (node !== undefined) return historyOfNode(node);
  return (machine?.history ?? []).map(({ at, type, result, code, version, onDemand }) => ({
    ...{ dateTime: String(Math.floor(at / 1000)), eventType: String(type), eventResult: String(result) },
    ...{ errorCode: String(code), version, groupId: machine?.group ?? "" },
    installSource: onDemand ? "ondemandupdate" : "scheduler",
  }));
}

/** Steps of a node that are events of Omaha, too: type and result. */
const EVENTS: Readonly<Record<string, readonly [string, string]>> = {
  ...{ Staging: ["13", "1"], Staged: ["3", "1"], Idle: ["3", "2"], Failed: ["3", "0"] },
};

function historyOfNode({ spec, status }: NodeUpdate): ClientHistoryItem[] {
  return (status?.transitions ?? []).flatMap(({ step, time }): ClientHistoryItem[] => {
    const [eventType, eventResult] = EVENTS[step] ?? [];
    if (eventType === undefined || eventResult === undefined) return [];
    return [
      {
        ...{ dateTime: String(Math.floor(Date.parse(time) / 1000)), eventType, eventResult, errorCode: "0" },
        ...{ version: status?.running ?? "", groupId: spec.group, installSource: "scheduler" },
      },
    ];
  });
}

/** What gateways counted: how often, by the start of the part (ms). */
export type Counted = readonly {
  at: number;
  versions: Readonly<Record<string, number>>;
  events: Readonly<Record<string, number>>;
}[];

export interface RollupAsk {
  /** Seconds since 1970; 0 for no bound. */
  start: number;
  end: number;
  /** Seconds. */
  resolution: number;
  /** Those that are wanted; all where it is empty. */
  versions: readonly string[];
}

export function rollupOf(kind: "versions" | "events", counted: Counted, ask: RollupAsk): RollupItem[] {
  const width = ask.resolution * 1000;
  const lines = new Map<string, Map<number, number>>();
  for (const part of counted) {
    const second = part.at / 1000;
    if (second < ask.start || (ask.end !== 0 && second > ask.end)) continue;
    const bucket = Math.floor(part.at / width) * ask.resolution;
    for (const [name, n] of Object.entries(part[kind])) {
      const line = lines.get(name) ?? new Map<number, number>();
      line.set(bucket, (line.get(bucket) ?? 0) + n);
      lines.set(name, line);
    }
  }
  return [...lines]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, line]): RollupItem => {
      const [version = "", type, result] = name.split(" ");
      const values = [...line]
        .toSorted(([a], [b]) => a - b)
        .map(([timestamp, n]) => ({ timestamp: String(timestamp), count: String(n) }));
      return { version, ...(type === undefined || result === undefined ? {} : { type, result }), values };
    })
    .filter(({ version }) => ask.versions.length === 0 || ask.versions.includes(version));
}

function timeText(at: number): string {
  return new Date(at).toISOString();
}
