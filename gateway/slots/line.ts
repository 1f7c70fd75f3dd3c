/**
 * The machines that wait at this gateway for a slot of their group. Each asks etcd once, which gives it the slot or a
 * ticket; then the gateway looks for all of them, and asks again for those whose turn it is. So a hundred that wait
 * cost as much as one, and none of them sees that others ask at the same moment.
 */
import type {
  Coordination,
  ForeignAsk,
  ForeignFreed,
  ForeignLine,
  ForeignResult,
} from "../../coordination/coordination.ts";
import { uidOf } from "../../coordination/identity.ts";
import type { Protocol } from "../../coordination/records.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Random } from "../../ports/random.ts";

/** What no place in a budget tells of (a window that opens, a limit that is raised) is seen after so long, ms. */
const LOOK = 1000;
/** Machines that wait at one gateway; one more is answered at once what it waits for. */
const MAX_WAITING = 2000;

type SlotCoordination = Pick<Coordination, "takeForeign" | "freeForeign" | "readForeign" | "watchBudgets">;

export interface SlotLineOptions {
  coordination: SlotCoordination;
  clock: Clock;
  random: Pick<Random, "uuid">;
}

interface Waiting {
  uid: string;
  answer: ForeignResult;
  again: () => Promise<boolean>;
  end: () => void;
}

export class SlotLine {
  readonly #options: SlotLineOptions;
  readonly #groups = new Map<string, GroupLine>();
  /** While somebody waits. */
  #watch: { close(): void } | undefined;
  #waiting = 0;

  constructor(options: SlotLineOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /**
   * The slot, or after `hold` ms why not. An answer may come sooner, when `gone` aborts. Throws `EtcdUnavailable`.
   */
  async take(ask: Omit<ForeignAsk, "nonce">, hold: number, gone: AbortSignal): Promise<ForeignResult> {
    const { coordination, clock, random } = this.#options;
    const once = () => coordination.takeForeign({ ...ask, nonce: random.uuid() });
    const first = await once();
    if (first.outcome !== "refused" || !mayCome(first) || hold <= 0 || gone.aborted) return first;
    if (this.#waiting >= MAX_WAITING) return first;
    this.#waiting += 1;
    this.#watch ??= coordination.watchBudgets(() => {
      for (const each of this.#groups.values()) each.look();
    });
    const group = this.#group(ask.group);
    try {
      return await new Promise<ForeignResult>((resolve, reject) => {
        let [asking, over] = [false, false];
        const waiting: Waiting = {
          uid: ask.uid,
          answer: first,
          again: async () => {
            asking = true;
            try {
              waiting.answer = await once();
            } catch (error) {
              settle();
              reject(error);
              return true;
            }
            asking = false;
            if (!over && mayCome(waiting.answer)) return false;
            waiting.end();
            return true;
          },
          end: () => {
            // What etcd is asked just now is the answer: a machine must not be told no that has the slot.
            over = true;
            if (asking) return;
            settle();
            resolve(waiting.answer);
          },
        };
        const cancel = clock.after(hold, waiting.end);
        const settle = (): void => {
          cancel();
          gone.removeEventListener("abort", waiting.end);
          group.leave(waiting);
        };
        gone.addEventListener("abort", waiting.end, { once: true });
        group.join(waiting);
      });
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) {
        this.#watch?.close();
        this.#watch = undefined;
      }
      this.#forget(ask.group);
    }
  }

  /**
   * What the machine `uid` took, also as one that nobody knew, who called itself `id`: the manager may have told since
   * whose that is. Throws `EtcdUnavailable`.
   */
  async free(uid: string, group: string, protocol: Protocol, id = uid): Promise<ForeignFreed> {
    const { coordination } = this.#options;
    const free = (name: string) => coordination.freeForeign(name, group, protocol);
    const known = await free(uid);
    const freed = known === "none" && id !== uid && uidOf(id) !== uid ? await free(uidOf(id)) : known;
    if (freed === "freed") this.#groups.get(group)?.look();
    this.#forget(group);
    return freed;
  }

  #group(name: string): GroupLine {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const made = new GroupLine(name, this.#options.coordination, this.#options.clock);
    this.#groups.set(name, made);
    return made;
  }

  /** Clients make up names: a line that nobody stands in is not kept. */
  #forget(name: string): void {
    if (this.#groups.get(name)?.idle === true) this.#groups.delete(name);
  }
}

/** Whether waiting helps: not where a person, or another group, has to do something first. */
function mayCome(result: ForeignResult): boolean {
  return (
    result.outcome === "refused" &&
    ["WaitingForBudget", "WaitingForTurn", "WaitingForGates", "EtcdUnavailable"].includes(result.why.reason)
  );
}

class GroupLine {
  readonly #name: string;
  readonly #coordination: Pick<SlotCoordination, "readForeign">;
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiting>();
  #looking = false;
  #wanted = false;
  #cancel: Cancel | undefined;

  constructor(name: string, coordination: Pick<SlotCoordination, "readForeign">, clock: Clock) {
    this.#name = name;
    this.#coordination = coordination;
    this.#clock = clock;
  }

  get idle(): boolean {
    return this.#waiting.size === 0 && !this.#looking;
  }

  join(waiting: Waiting): void {
    this.#waiting.add(waiting);
    this.#later();
  }

  leave(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    if (this.#waiting.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Something changed. */
  look(): void {
    this.#wanted = true;
    if (this.#looking || this.#waiting.size === 0) return;
    this.#looking = true;
    void this.#serve();
  }

  #later(): void {
    this.#cancel ??= this.#clock.after(LOOK, () => {
      this.#cancel = undefined;
      this.look();
    });
  }

  async #serve(): Promise<void> {
    while (this.#wanted && this.#waiting.size > 0) {
      this.#wanted = false;
      const turns = await this.#coordination.readForeign(this.#name).then(nextOf, () => undefined);
      // Without an answer each that waits keeps what it was told last, and its deadline.
      const next = [...this.#waiting].filter(({ uid }) => turns?.has(uid));
      const went = await Promise.all(next.map((waiting) => waiting.again()));
      if (went.includes(true)) this.#wanted = true;
    }
    this.#looking = false;
    if (this.#waiting.size > 0) this.#later();
  }
}

/** Those at the head of the line for whom there may be room. */
function nextOf({ budgets, waiting }: ForeignLine): ReadonlySet<string> {
  const room = Math.min(
    ...budgets.map(({ gate, holders }) => {
      if (gate === undefined) return 0;
      return gate.max - new Set([...holders, ...gate.unavailable, ...(gate.granted ?? [])]).size;
    }),
  );
  return new Set(room > 0 && Number.isFinite(room) ? waiting.slice(0, room) : []);
}
