/**
 * locksmith's semaphores, which are no keys of ours but the slots of UpdateGroups: `locksmithctl` and `locksmithd` read
 * a count, add themselves to the holders and write that back if nobody else did (facts of locksmith 0.7). So a read
 * shows the group's slots as such a count, with those who locked by it and an index that follows from what is shown, and
 * a write that differs in one holder takes a slot or gives it back, under the same gates and budgets as FleetLock. A
 * Node is given its slot by the manager, which drains it first: it is refused until then, and a holder after it.
 *
 * Where no slot may be taken now (the budget is full, a window is closed, the group is paused) the count shows 0: the
 * client then says "semaphore is at 0" by itself and comes again after its back-off, 5 s to 5 min, as it did with etcd.
 * What only the take can tell (others wait before this machine, another has just been faster) is answered like a lost
 * compare-and-swap, error 101 with the reason as its cause: the client prints it, and the daemon tries again likewise.
 * Anything of 5xx would make its library ask the next endpoint at once instead.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { refuseGrant } from "../../coordination/admission.ts";
import type { Coordination, ForeignLine } from "../../coordination/coordination.ts";
import type { RegistryEvent } from "../../coordination/registry.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { SlotLine } from "../slots/line.ts";
import { giveBack, refuseNode } from "../slots/node.ts";
import { V2Error } from "./errors.ts";
import { FormError, unescape } from "./form.ts";
import type { Shown } from "./space.ts";
import type { Ask } from "./wire.ts";

const ROOT = "/coreos.com/updateengine/rebootlock/";
/** Of the key without a group. */
const DEFAULT_GROUP = "default";
/** Holders of a group at most, and characters of an id: what FleetLock takes, too. */
const MAX_HOLDERS = 10_000;
const MAX_ID = 256;

const Semaphore = z.object({
  semaphore: z.number().int(),
  max: z.number().int(),
  holders: z
    .array(
      z
        .string()
        .max(MAX_ID)
        .regex(/^\P{Cc}+$/u),
    )
    .max(MAX_HOLDERS)
    .nullable(),
});
type Semaphore = z.output<typeof Semaphore>;

/** Changes how many machines of a group may be down, 0 for a pause: answers `done`, or a sentence that says why not. */
export type SetMax = (group: string, max: number) => Promise<"done" | (string & {})>;

export interface SemaphoreOptions {
  coordination: Pick<Coordination, "readForeign" | "identify" | "requestReboot" | "endReboot">;
  /** Those who wait by other protocols hear there of what is given back. */
  line: Pick<SlotLine, "take" | "free">;
  clock: Clock;
  log: Logger;
  setMax: SetMax;
  /** `outcome`: `granted`, `held`, `freed`, `none`, or the reason of a refusal. */
  meter: (call: "lock" | "unlock", outcome: string) => void;
}

/** The group whose semaphore the key is; undefined where it is an ordinary key. */
export function groupOf(path: string): string | undefined {
  if (!path.startsWith(ROOT)) return undefined;
  const rest = path.slice(ROOT.length);
  if (rest === "semaphore") return DEFAULT_GROUP;
  const escaped = /^groups\/([^/]+)\/semaphore$/.exec(rest)?.[1];
  if (escaped === undefined) return undefined;
  try {
    return unescape(escaped);
  } catch (error) {
    if (error instanceof FormError) return undefined;
    throw error;
  }
}

/** What a request for a semaphore leads to. Throws `V2Error`, and `EtcdUnavailable` where it is not known. */
export async function serveSemaphore(
  options: SemaphoreOptions,
  ask: Ask,
  path: string,
  group: string,
): Promise<Shown | RegistryEvent> {
  if (ask.kind === "watch")
    throw new V2Error(209, "a semaphore can't be watched: it is made anew for each read", 0, 403);
  const before = await look(options, path, group);
  if (ask.kind === "get") return before.node;
  const { command } = ask;
  if (command.kind === "put" && command.prevExist === false)
    throw new V2Error(105, path, before.node.modified);
  if (command.kind !== "put" || (command.prevIndex === 0n && command.prevValue === "")) {
    throw new V2Error(209, "a semaphore is changed by compare-and-swap only", before.node.modified, 403);
  }
  const index = before.node.modified;
  if (command.prevIndex !== 0n && command.prevIndex !== BigInt(index)) {
    throw new V2Error(101, `[${command.prevIndex} != ${index}]`, index);
  }
  if (command.prevValue !== "" && command.prevValue !== before.node.value) {
    throw new V2Error(101, `[${command.prevValue} != ${before.node.value ?? ""}]`, index);
  }
  await change(options, group, before.shown, parse(command.value, index), index);
  const after = await look(options, path, group);
  const { created, modified, value } = after.node;
  return {
    ...{ action: "compareAndSwap", index: modified, path, nonce: "", after: "" },
    node: { created, modified, value },
    prev: { created: before.node.created, modified: index, value: before.node.value },
  };
}

async function change(
  options: SemaphoreOptions,
  group: string,
  before: Semaphore,
  asked: Semaphore,
  index: number,
): Promise<void> {
  const { coordination, line, log, setMax, meter } = options;
  const [had, wanted] = [new Set(before.holders), new Set(asked.holders)];
  const added = [...wanted.difference(had)];
  const removed = [...had.difference(wanted)];
  const [id = ""] = [...added, ...removed];
  if (added.length + removed.length + (asked.max === before.max ? 0 : 1) > 1) {
    throw new V2Error(209, "one thing at a time: one holder more, one less, or another max", index, 403);
  }
  if (asked.max !== before.max) {
    const done = await setMax(group, asked.max);
    if (done !== "done") throw new V2Error(209, done, index, 403);
    return;
  }
  const identity = await coordination.identify(id);
  const about = { machine: id, group, protocol: "Locksmith" } as const;
  if (added.length === 1) {
    const { uid, name, node } = identity;
    const foreign = node === undefined ? undefined : refuseNode(name, node, group, "locksmithd");
    if (foreign !== undefined) {
      meter("lock", foreign.kind);
      throw new V2Error(101, foreign.message, index);
    }
    const ask = { uid, group, protocol: about.protocol };
    const result =
      node === undefined
        ? await line.take({ ...ask, name: id }, 0, AbortSignal.abort())
        : await coordination.requestReboot({ ...ask, name, id });
    meter("lock", result.outcome === "refused" ? result.why.reason : result.outcome);
    if (result.outcome === "refused") throw new V2Error(101, result.why.message, index);
    if (result.outcome === "granted") log.info("a machine has a slot", about);
    return;
  }
  if (removed.length !== 1) return;
  const freed = await giveBack(options, identity, id, group, about.protocol);
  meter("unlock", freed);
  // Of those that are shown: it has given it back meanwhile.
  if (freed === "none") throw new V2Error(101, `${id} holds no slot by locksmith any more`, index);
  log.info("a machine gave its slot back", about);
}

async function look(
  { coordination, clock }: SemaphoreOptions,
  path: string,
  group: string,
): Promise<{ shown: Semaphore; node: Shown & { modified: number } }> {
  const line = await coordination.readForeign(group);
  if (line.gate === undefined || line.gate.machines === undefined) {
    const why =
      line.gate === undefined
        ? "is not known, or the manager is away"
        : "gives no slots to machines without our agent";
    throw new V2Error(100, `${path}: group ${group} ${why}`, 0);
  }
  const shown = semaphoreOf(line, group, clock.now());
  const value = JSON.stringify(shown);
  const modified = indexOf(group, value);
  return { shown, node: { path, created: 1, modified, value } };
}

/**
 * Of several budgets the one with the least room counts. The count may be below what `max` and holders make: Nodes are
 * in it, and machines of other protocols. Those are not named: locksmithd unlocks whom it finds there as itself before
 * it does anything else, and takes being found for a lock. But a machine that has its slot by its update is to reboot
 * by it, so that its place is shown as free; who else tries to take it hears why not. So it is while a Node waits that
 * asked by locksmith: its slot may fill the budget, and at a count of 0 its client would not ask for it again.
 */
function semaphoreOf({ gate, budgets, holders, nodes }: ForeignLine, group: string, now: number): Semaphore {
  const asked = nodes.filter(({ protocol }) => protocol === "Locksmith");
  const names = [
    ...holders.flatMap(({ name, words }) => (words.includes("Locksmith") ? [name] : [])),
    ...asked.flatMap(({ phase, client }) => (phase === "Committed" && client !== undefined ? [client] : [])),
  ].toSorted();
  const waits = asked.some(({ phase }) => phase === undefined || phase === "Granted" || phase === "Drained");
  const updating = holders.filter(({ words }) => words.join() === "Omaha").length;
  const maxima = budgets.map(({ gate: of }) => of?.max ?? 0);
  const room = budgets.map(({ gate: of, holders: held }) =>
    of === undefined ? 0 : of.max - new Set([...held, ...of.unavailable, ...(of.granted ?? [])]).size,
  );
  const question = { uid: "", group, release: "", gate, budgets, needs: gate?.machines?.needs ?? 0 };
  const why = refuseGrant(question, now)?.reason;
  const open = why === undefined || why === "WaitingForBudget";
  const semaphore = Math.max(waits ? 1 : 0, open ? Math.min(...room) + updating : 0);
  // `set-max 0` pauses the group, and so it says.
  const max = gate?.paused === true ? 0 : Math.min(...maxima);
  return { semaphore, max, holders: names.length === 0 ? null : names };
}

/**
 * Index of what is shown, the same in each gateway: a compare by it succeeds exactly while the same would be shown. It
 * does not rise, which no client of a semaphore asks; 52 bits are exact in a number.
 */
function indexOf(group: string, value: string): number {
  const digest = createHash("sha256")
    .update(JSON.stringify([group, value]))
    .digest();
  return Number(digest.readBigUInt64BE(0) >> 12n) + 1;
}

function parse(value: string, index: number): Semaphore {
  try {
    return Semaphore.parse(JSON.parse(value));
  } catch {
    throw new V2Error(209, "the value is no semaphore", index, 400);
  }
}
