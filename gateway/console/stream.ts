/**
 * One page's stream of changes: snapshots, then what changed, at most four times a second. It remembers a position and
 * nothing else; while the page reads slower than things change nothing is made for it, so that nothing piles up.
 */
import type * as view from "../../console/contract.ts";
import type { Topic } from "../../console/events.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Changes } from "./changes.ts";

/** ms. */
const EVERY = 250;
const HEARTBEAT = 15_000;
/** Items of one part of a snapshot: about 100 KiB are in memory for a page at once. */
const PART = 250;
/** Machines that are streamed at most; of more a page shows numbers, and asks for a group or a zone. */
export const MAX_STREAMED = 20_000;

export interface StreamOptions {
  changes: Changes;
  /** Changes with the process: positions of another gateway mean nothing here. */
  epoch: string;
  topics: readonly Topic[];
  /** Of machines. */
  passes: (machine: view.Machine) => boolean;
  /** Where the page was before it lost the connection. */
  lastEventId: string | undefined;
  freshness: () => view.Freshness;
  /** Why it ends now (the session is over, a right was taken away); undefined: it goes on. */
  ends: () => Promise<string | undefined>;
  /** Calls back when something may have changed; returns what ends that. */
  onChange: (listener: () => void) => () => void;
  clock: Clock;
  signal: AbortSignal;
}

export async function* streamOf(options: StreamOptions): AsyncGenerator<string, void, undefined> {
  const { changes, epoch, clock, signal } = options;
  const topics = new Set(options.topics);
  let told = options.freshness();
  yield event("freshness", told, undefined);
  let position = positionOf(options.lastEventId, epoch, changes);
  if (position === undefined) {
    position = changes.position;
    yield* snapshots(options, topics);
    yield `id: ${epoch}-${position}\n\n`;
  }
  let [toldAt, askedAt] = [clock.monotonic(), clock.monotonic()];
  while (!signal.aborted) {
    await nextChange(options, position);
    if (signal.aborted) return;
    const now = clock.monotonic();
    const missed = changes.since(position, topics);
    position = missed.position;
    if (missed.changes === undefined) yield* snapshots(options, topics);
    else {
      const some = seenBy(missed.changes, options.passes);
      if (Object.keys(some).length > 0) yield event("change", { changes: some }, `${epoch}-${position}`);
    }
    const fresh = options.freshness();
    if ((fresh.stale === undefined) !== (told.stale === undefined) || now - toldAt >= HEARTBEAT) {
      told = fresh;
      toldAt = now;
      yield event("freshness", fresh, `${epoch}-${position}`);
    }
    if (now - askedAt < HEARTBEAT) continue;
    askedAt = now;
    const end = await options.ends();
    if (end !== undefined) return yield event("end", { message: end }, undefined);
  }
}

/** Each topic in parts, so that one part at a time is in memory, and only once the page took the one before. */
function* snapshots(options: StreamOptions, topics: ReadonlySet<Topic>): Generator<string, void, undefined> {
  const { changes } = options;
  for (const topic of topics) {
    let items = [...changes.items(topic).values()];
    let omitted: number | undefined;
    if (topic === "machines") {
      items = items.filter((item) => options.passes(item as view.Machine));
      if (items.length > MAX_STREAMED) {
        omitted = items.length;
        items = [];
      }
    }
    for (let at = 0; at === 0 || at < items.length; at += PART) {
      const end = at + PART >= items.length;
      const part = { topic, items: items.slice(at, at + PART), begin: at === 0, end };
      yield event("snapshot", omitted === undefined ? part : { ...part, omitted }, undefined);
    }
  }
}

type Shown = Partial<Record<Topic, { put: unknown[]; gone: string[] }>>;

/** A machine that no longer passes the filter is gone for this page. */
function seenBy(
  changes: ReadonlyMap<Topic, { put: unknown[]; gone: string[] }>,
  passes: (machine: view.Machine) => boolean,
): Shown {
  const shown: Shown = {};
  for (const [topic, { put, gone }] of changes) {
    if (topic !== "machines") {
      shown[topic] = { put, gone };
      continue;
    }
    const machines = put as view.Machine[];
    const left = machines.filter((machine) => !passes(machine)).map(({ uid }) => uid);
    shown[topic] = { put: machines.filter(passes), gone: [...gone, ...left] };
  }
  return shown;
}

/** `EPOCH-POSITION` of this process, as far as the changes after it are still known. */
function positionOf(id: string | undefined, epoch: string, changes: Changes): number | undefined {
  const [, of, digits] = /^([0-9a-z]+)-(\d{1,15})$/.exec(id ?? "") ?? [];
  if (of !== epoch || digits === undefined) return undefined;
  const position = Number(digits);
  return changes.since(position, new Set()).changes === undefined ? undefined : position;
}

/** Waits `EVERY`, and then for a change after `position`; at most a heartbeat. */
async function nextChange(
  { changes, onChange, clock, signal }: StreamOptions,
  position: number,
): Promise<void> {
  await sleep(clock, EVERY, signal).catch(() => {});
  // What changed while nobody listened: while the page took a piece, or just now.
  if (signal.aborted || changes.position !== position) return;
  const changed = new AbortController();
  const end = onChange(() => changed.abort());
  const either = AbortSignal.any([changed.signal, signal]);
  await sleep(clock, HEARTBEAT - EVERY, either).catch(() => {});
  end();
}

/** JSON has no line breaks, so that one `data` line is enough. */
function event(name: string, data: unknown, id: string | undefined): string {
  const line = id === undefined ? "" : `id: ${id}\n`;
  return `${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
