/**
 * Boot control by the attribute bits of GPT entries, as Container Linux, Flatcar and
 * ChromeOS have it: priority in bits 48-51, tries left in 52-55, successful in 56.
 */
import type { BootControl, BootSlot, SlotName } from "./boot-control.ts";
import { type Disk, region } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { type GptCopy, type GptEntry, partitions, writeAttributes } from "./gpt.ts";
import { repairGpt, updateGpt } from "./gpt-disk.ts";
import { readSlotLabel } from "./slot-label.ts";

/** Type GUID of coreos-usr and flatcar-usr partitions, which GRUB's gptprio looks for. */
export const SLOT_TYPE = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";

export interface BootBits {
  /** 0 to 15; 0 never boots. */
  priority: number;
  /** 0 to 15 boots that remain. */
  tries: number;
  successful: boolean;
}

export type SlotBits = Record<SlotName, BootBits>;

const SHIFT = 48n;
const BITS = 0x01ffn << SHIFT;

/** The bits in an entry's attribute field. */
export function decodeBits(attributes: bigint): BootBits {
  const bits = Number((attributes & BITS) >> SHIFT);
  return { priority: bits & 15, tries: (bits >> 4) & 15, successful: bits >> 8 === 1 };
}

/** `attributes` with the bits set and everything else kept. */
export function encodeBits(attributes: bigint, bits: BootBits): bigint {
  const value = bits.priority | (bits.tries << 4) | (bits.successful ? 0x100 : 0);
  return (attributes & ~BITS) | (BigInt(value) << SHIFT);
}

/** Whether firmware would consider the slot: gptprio.next's condition. */
export function bootable(bits: BootBits): boolean {
  return bits.priority > 0 && (bits.tries > 0 || bits.successful);
}

const CLEARED: BootBits = { priority: 0, tries: 0, successful: false };

export const other = (slot: SlotName): SlotName => (slot === "A" ? "B" : "A");

/** What a change asks for; `running` is the slot that this boot came from. */
export type BitChange =
  | { change: "clearPassive" }
  | { change: "setNext"; slot: SlotName; tries: number }
  | { change: "cancelNext" }
  | { change: "markGood"; slot: SlotName }
  | { change: "markBad"; slot: SlotName };

/**
 * The bits after a change. Throws where it would leave nothing to boot, which hangs the
 * machine on its console, or where the running slot is not yet a fallback.
 */
export function planBits(bits: SlotBits, running: SlotName, asked: BitChange): SlotBits {
  const next = changed(bits, running, asked);
  if (!bootable(next.A) && !bootable(next.B)) {
    throw new FastPatchError("NothingBootable", `${asked.change} would leave no slot that boots`);
  }
  return next;
}

function changed(bits: SlotBits, running: SlotName, asked: BitChange): SlotBits {
  const passive = other(running);
  switch (asked.change) {
    case "clearPassive":
      if (!bits[running].successful || bits[running].priority === 0) {
        throw new FastPatchError("RunningNotGood", `slot ${running} runs, but is not marked good`);
      }
      return { ...bits, [passive]: CLEARED };
    case "setNext": {
      const { slot, tries } = asked;
      if (!Number.isInteger(tries) || tries < 0 || tries > 15)
        throw new RangeError(`tries is ${tries}, not 0 to 15`);
      if (slot === running) return ranked(bits, slot);
      if (!bits[running].successful) {
        throw new FastPatchError("RunningNotGood", `slot ${running} runs, but is not marked good`);
      }
      return ranked({ ...bits, [slot]: { priority: 1, tries, successful: false } }, slot);
    }
    case "cancelNext": {
      const back = ranked(bits, running);
      if (!bootable(back[running])) {
        throw new FastPatchError("RunningNotGood", `slot ${running} runs, but is not marked good`);
      }
      return bits[passive].successful ? back : { ...back, [passive]: CLEARED };
    }
    case "markGood": {
      const { slot } = asked;
      const good = { ...bits, [slot]: { ...bits[slot], tries: 0, successful: true } };
      return bits[slot].priority > 0 ? good : ranked(good, slot);
    }
    case "markBad":
      return { ...bits, [asked.slot]: CLEARED };
  }
}

/** `first` at 2, the other at 1, unless the other never boots. */
function ranked(bits: SlotBits, first: SlotName): SlotBits {
  const second = other(first);
  const below = bits[second].priority === 0 ? 0 : 1;
  return {
    ...bits,
    [first]: { ...bits[first], priority: 2 },
    [second]: { ...bits[second], priority: below },
  };
}

/** The two slot entries of a table, A first. */
export function slotEntries(table: GptCopy): Record<SlotName, GptEntry> {
  const entries = partitions(table).filter((entry) => entry.type === SLOT_TYPE);
  const [A, B] = entries;
  if (A === undefined || B === undefined || entries.length > 2) {
    throw new FastPatchError("SlotMissing", `the disk has ${entries.length} slot partitions, not two`);
  }
  for (const entry of [A, B]) {
    const { firstUsable, lastUsable } = table.header;
    if (entry.firstLba < firstUsable || entry.lastLba < entry.firstLba || entry.lastLba > lastUsable) {
      throw new FastPatchError(
        "GptUnsupported",
        `partition ${entry.index + 1} lies outside of the disk's usable space`,
      );
    }
  }
  if (A.firstLba <= B.lastLba && B.firstLba <= A.lastLba) {
    throw new FastPatchError("GptUnsupported", "the slot partitions overlap");
  }
  return { A, B };
}

export interface GptPrioOptions {
  disk: Disk;
  /** Unique GUID of the slot partition that this boot came from. */
  runningPartition: string;
}

/** Boot control over the table of `disk`, repaired if one copy is damaged. */
export async function createGptPrio({ disk, runningPartition }: GptPrioOptions): Promise<BootControl> {
  const { primary } = await repairGpt(disk);
  const found = slotEntries(primary);
  const running = (["A", "B"] as const).find((name) => found[name].unique === runningPartition.toLowerCase());
  if (running === undefined) {
    throw new FastPatchError(
      "SlotMissing",
      `partition ${runningPartition}, from which the machine booted, is no slot of the disk`,
    );
  }

  /** Changes and reads of the table take turns: a change is a read, a decision and a write. */
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = turn.then(work);
    turn = result.catch(() => {});
    return result;
  };
  const place = (entry: GptEntry): { offset: number; size: number } => ({
    offset: entry.firstLba * disk.sectorSize,
    size: (entry.lastLba - entry.firstLba + 1) * disk.sectorSize,
  });
  const requireComplete = async (slot: SlotName): Promise<void> => {
    const { offset, size } = place(found[slot]);
    if (slot !== running && (await readSlotLabel(region(disk, offset, size))) === undefined) {
      throw new FastPatchError("SlotIncomplete", `slot ${slot} holds no complete image`);
    }
  };
  const change = (asked: BitChange): Promise<void> =>
    inTurn(() =>
      updateGpt(disk, (entries, table) => {
        const slots = slotEntries(table);
        const bits = { A: decodeBits(slots.A.attributes), B: decodeBits(slots.B.attributes) };
        const next = planBits(bits, running, asked);
        for (const name of ["A", "B"] as const) {
          const { index, attributes } = slots[name];
          writeAttributes(entries, table.header.entrySize, index, encodeBits(attributes, next[name]));
        }
      }),
    );

  return {
    running,
    slots: () =>
      inTurn(async () => {
        const entries = slotEntries((await repairGpt(disk)).primary);
        return (["A", "B"] as const).map((name): BootSlot => {
          const entry = entries[name];
          return { name, ...decodeBits(entry.attributes), ...place(entry), partition: entry.unique };
        });
      }),
    clearPassive: () => change({ change: "clearPassive" }),
    setNext: async (slot, tries) => {
      await requireComplete(slot);
      await change({ change: "setNext", slot, tries });
    },
    cancelNext: () => change({ change: "cancelNext" }),
    markGood: async (slot) => {
      await requireComplete(slot);
      await change({ change: "markGood", slot });
    },
    markBad: (slot) => change({ change: "markBad", slot }),
  };
}
