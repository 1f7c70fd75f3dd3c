/** Which slot boots next: the interface that every boot loader's back end has. */

export type SlotName = "A" | "B";

export interface BootSlot {
  name: SlotName;
  /** 0 never boots; the highest boots first. */
  priority: number;
  /** Boots that remain before the slot must have been marked good. */
  tries: number;
  successful: boolean;
  /** Bytes on the disk. */
  offset: number;
  size: number;
  /** Unique partition GUID, lower case. */
  partition: string;
}

/** Every change is durable when its promise resolves; after any crash at least one complete slot boots. */
export interface BootControl {
  slots(): Promise<BootSlot[]>;
  /** The slot that this boot came from. */
  readonly running: SlotName;
  /** Clears the bits of the passive slot, so that half-written bytes never boot. */
  clearPassive(): Promise<void>;
  /** Lets the passive slot boot next, with `tries` boots to prove itself. */
  setNext(slot: SlotName, tries: number): Promise<void>;
  /** Undoes `setNext`: the running slot boots next; the other keeps its bytes. */
  cancelNext(): Promise<void>;
  markGood(slot: SlotName): Promise<void>;
  /** Never boots again until written anew. */
  markBad(slot: SlotName): Promise<void>;
}
