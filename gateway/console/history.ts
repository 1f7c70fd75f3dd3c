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

export interface HistoryOptions {
  coordination: Pick<Coordination, "readJournal">;
  clock: Clock;
  log: Logger;
  /** Told of entries that are new, oldest first. */
  onNew: (entries: readonly view.Activity[]) => void;
}

export class History {
  readonly #options: HistoryOptions;
  /** Oldest first; `at`: wall clock, ms. */
  #entries: { at: number; shown: view.Activity }[] = [];
  readonly #known = new Set<string>();
  /** Wall clock, ms: when the journal was read last. */
  #readAt: number | undefined;

  constructor(options: HistoryOptions) {
    this.#options = options;
  }

  /** Oldest first; the journal's newest entries, of those that `passes` wants. */
  activities(passes: (activity: view.Activity) => boolean): view.Activity[] {
    return this.#entries.map(({ shown }) => shown).filter(passes);
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
    const now = clock.now();
    const since = this.#readAt === undefined ? now - RETENTION : this.#readAt - LATE;
    const found = await coordination.readJournal(since);
    this.#readAt = now;
    const fresh = found
      .map((entry) => ({ at: entry.at, shown: viewActivity(entry) }))
      .filter(({ shown: { id } }) => !this.#known.has(id) && this.#known.add(id));
    if (fresh.length === 0) return;
    this.#entries = [...this.#entries, ...fresh].toSorted((a, b) => a.at - b.at);
    for (const { shown } of this.#entries.splice(0, Math.max(0, this.#entries.length - MOST))) {
      this.#known.delete(shown.id);
    }
    onNew(fresh.map(({ shown }) => shown));
  }
}

function viewActivity(entry: JournalEntry): view.Activity {
  const { at, uid, node, group, what, reason, message, by } = entry;
  const id = createHash("sha256").update(JSON.stringify(entry)).digest("base64url").slice(0, 22);
  return { id, time: timestamp(at), uid, machine: node, group, what, reason, message, by };
}
