/** The journal: one key an entry, on a lease of the entry's day, so that it ends by itself. */
import { DAY, DayLease } from "./day-lease.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { JournalEntry } from "./records.ts";
import { type Ports, type Step, transact } from "./transact.ts";

const RETENTION_DAYS = 30;
/** Longest text of one field, characters. */
const MAX_TEXT = 1000;
/** Entries that one process writes in a day; what is above is dropped and said so once. */
const MAX_PER_DAY = 50_000;
/** Of them, about one machine: an update takes about 15, and who makes its agent say this and that drops only its own, and nothing that a person did. */
const MAX_PER_UID = 300;
/** Newest entries that one read gives. */
const MAX_READ = 10_000;
/** Keys begin with the time: those of one such span, ms, have a prefix. */
const SPAN = 10_000;
/** Spans that are read one by one; more time than that is read by days. */
const MAX_SPANS = 32;
/** Clocks of those who write may be ahead of ours, ms. */
const AHEAD = 60_000;

export class Journal {
  readonly #ports: Ports;
  readonly #parser: Parser;
  /** `of`: entries by uid, of those that were written, so never more than `MAX_PER_DAY`. */
  #day: { day: number; written: number; of: Map<string, number> } | undefined;
  readonly #lease: DayLease;

  constructor(ports: Ports, parser: Parser) {
    this.#ports = ports;
    this.#parser = parser;
    this.#lease = new DayLease(ports, RETENTION_DAYS);
  }

  async append(entry: JournalEntry): Promise<void> {
    const { etcd, clock, random, log } = this.#ports;
    const day = Math.floor(clock.now() / DAY);
    if (this.#day?.day !== day) this.#day = { day, written: 0, of: new Map() };
    const current = this.#day;
    const own = current.of.get(entry.uid) ?? 0;
    if (own >= MAX_PER_UID && entry.by === undefined) {
      if (own === MAX_PER_UID) {
        const { uid, node } = entry;
        log.info("enough was written about one machine today; its further entries are dropped", {
          uid,
          node,
        });
        current.of.set(uid, own + 1);
      }
      return;
    }
    current.written++;
    if (current.written > MAX_PER_DAY) {
      if (current.written === MAX_PER_DAY + 1) {
        log.info("the journal is full for today; further entries are dropped", { limit: MAX_PER_DAY });
      }
      return;
    }
    if (entry.by === undefined) current.of.set(entry.uid, own + 1);
    const key = `${dayPrefix(Math.floor(entry.at / DAY))}${pad(entry.at, 15)}-${random.uuid()}`;
    const value = JSON.stringify(clipped(entry));
    let lease = await this.#lease.id();
    let refusals = 0;
    await transact(etcd, async (uncertain): Promise<Step<void>> => {
      if (uncertain || refusals > 0) {
        const { results } = await etcd.read([{ key }]);
        if (results[0]?.[0] !== undefined) return { answer: undefined };
        // Refused although nobody else knows the key: the lease is gone, with etcd's data.
        this.#lease.forget();
        lease = await this.#lease.id();
      }
      refusals++;
      return {
        compares: [{ key, target: "create", is: "equal", revision: 0 }],
        operations: [{ put: key, value, lease }],
        committed: () => undefined,
      };
    });
  }

  /** Entries at or after `since` (wall clock, ms), oldest first; of very many the newest. */
  async read(since: number): Promise<JournalEntry[]> {
    const { etcd, clock } = this.#ports;
    const until = clock.now() + AHEAD;
    if (until - since < MAX_SPANS * SPAN) return await this.#readSpans(since, until);
    const today = Math.floor(clock.now() / DAY);
    const first = Math.max(Math.floor(since / DAY), today - RETENTION_DAYS);
    let entries: JournalEntry[] = [];
    for (let day = today + 1; day >= first && entries.length < MAX_READ; day--) {
      const { results } = await etcd.read([{ prefix: dayPrefix(day) }]);
      const found = (results[0] ?? []).map((kv) => this.#parser.json(JournalEntry, kv));
      entries = [
        ...found.filter((entry) => entry !== undefined && entry.at >= since),
        ...entries,
      ] as JournalEntry[];
    }
    return entries.slice(-MAX_READ);
  }

  /** Of the last minutes: a day has too much of it to be read each few seconds. */
  async #readSpans(since: number, until: number): Promise<JournalEntry[]> {
    const prefixes: { prefix: string }[] = [];
    for (let at = Math.floor(since / SPAN) * SPAN; at <= until; at += SPAN) {
      prefixes.push({ prefix: `${dayPrefix(Math.floor(at / DAY))}${pad(at, 15).slice(0, -4)}` });
    }
    const { results } = await this.#ports.etcd.read(prefixes);
    return results
      .flatMap((kvs) => kvs.map((kv) => this.#parser.json(JournalEntry, kv)))
      .filter((entry) => entry !== undefined && entry.at >= since) as JournalEntry[];
  }
}

function dayPrefix(day: number): string {
  return `${keys.journal}${pad(day, 6)}/`;
}

/** Keys ascend with time. */
function pad(n: number, width: number): string {
  return String(Math.max(0, Math.floor(n))).padStart(width, "0");
}

function clipped(entry: JournalEntry): JournalEntry {
  const clip = (text: string): string => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);
  return {
    at: entry.at,
    uid: clip(entry.uid),
    node: clip(entry.node),
    group: clip(entry.group),
    what: clip(entry.what),
    reason: clip(entry.reason),
    message: clip(entry.message),
    ...(entry.by === undefined ? {} : { by: clip(entry.by) }),
  };
}
