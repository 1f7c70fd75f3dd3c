/** The journal's newest entries in memory: what people and machines did, for the activity log and for stories. */
import { createHash } from "node:crypto";
import { timestamp } from "../../api/meta.ts";
import type * as view from "../../console/contract.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { JournalEntry } from "../../coordination/records.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";

/** Entries kept: a read of the journal gives no more. */
const MOST = 10_000;
const RETENTION = 30 * 24 * 3_600_000;
/** How often the journal is read, ms. */
const PERIOD = 3000;
/** An entry may come so late, ms: whoever wrote it waited for etcd, or has a clock of its own. */
const LATE = 30_000;

/** `what` of an entry that a person's write made; the machine's name is then empty where it is about none. */
export const BY_PERSON = "asked";

export interface HistoryOptions {
  coordination: Pick<Coordination, "readJournal">;
  clock: Clock;
  log: Logger;
  /** Told of entries that are new, oldest first. */
  onNew: (entries: readonly view.Activity[]) => void;
}

export class History {
  readonly #options: HistoryOptions;
  /** Oldest first. */
  #entries: JournalEntry[] = [];
  readonly #known = new Set<string>();
  /** Wall clock, ms: of the newest entry. */
  #newest = 0;
  #read = false;

  constructor(options: HistoryOptions) {
    this.#options = options;
  }

  /** Oldest first; all of the journal's newest entries. */
  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  /** Of one machine, oldest first. */
  of(uid: string): JournalEntry[] {
    return this.#entries.filter((entry) => entry.uid === uid);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        await this.look();
      } catch (error) {
        log.error("can't read the journal", error);
      }
      await sleep(clock, PERIOD, signal).catch(() => {});
    }
  }

  /** Takes in what is new. Throws `EtcdUnavailable`. */
  async look(): Promise<void> {
    const { coordination, clock, onNew } = this.#options;
    const since = this.#read ? this.#newest - LATE : clock.now() - RETENTION;
    const found = await coordination.readJournal(since);
    this.#read = true;
    // What nobody wrote for a while is not looked for again from there.
    this.#newest = Math.max(this.#newest, clock.now() - LATE, ...found.slice(-1).map(({ at }) => at));
    const fresh = found.filter((entry) => {
      const id = idOf(entry);
      if (this.#known.has(id)) return false;
      this.#known.add(id);
      return true;
    });
    if (fresh.length === 0) return;
    this.#entries = [...this.#entries, ...fresh].toSorted((a, b) => a.at - b.at);
    for (const gone of this.#entries.splice(0, Math.max(0, this.#entries.length - MOST))) {
      this.#known.delete(idOf(gone));
    }
    onNew(fresh.map(viewActivity));
  }
}

function idOf(entry: JournalEntry): string {
  return createHash("sha256").update(JSON.stringify(entry)).digest("base64url").slice(0, 22);
}

export function viewActivity(entry: JournalEntry): view.Activity {
  const { at, uid, node, group, what, reason, message } = entry;
  const [, by] = what === BY_PERSON ? (/ \(by ([^()]*)\)\.?$/.exec(message) ?? []) : [];
  return { id: idOf(entry), time: timestamp(at), uid, machine: node, group, what, reason, message, by };
}
