/** Power-on: asks gptprio.next which slot boots, and hands over its bytes. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { gptprioNext } from "./gptprio.ts";

export interface Chosen {
  /** "A" for the first slot of the table, "B" for the second. */
  slot: string;
  /** Unique partition GUID, lower case. */
  partition: string;
  content: Buffer;
}

const SECTOR = 512;

/** Chooses as GRUB does, and uses up a try on the disk before anything of the slot is read. */
export function chooseSlot(disk: string): Chosen {
  const file = openSync(disk, "r+");
  try {
    const sectors = fstatSync(file).size / SECTOR;
    const read = (lba: number, count = 1): Buffer => {
      const buffer = Buffer.alloc(count * SECTOR);
      readSync(file, buffer, 0, buffer.length, lba * SECTOR);
      return buffer;
    };
    const write = (lba: number, data: Uint8Array): void => {
      writeSync(file, data, 0, data.length, lba * SECTOR);
    };
    const next = gptprioNext(read, write, sectors, SECTOR);
    return {
      slot: next.slot,
      partition: next.uuid,
      content: read(next.firstLba, next.lastLba - next.firstLba + 1),
    };
  } finally {
    closeSync(file);
  }
}
