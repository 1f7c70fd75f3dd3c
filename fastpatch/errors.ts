/** The catalogue of what can go wrong in the A/B engine. Codes are stable: logs, tests and people's notes name them. */

interface Entry {
  /** What a person can do. */
  next: string;
  /** Whether trying again with the same image gives the same answer. */
  refused?: true;
}

const catalogue = {
  // Disk and partition table
  DiskBusy: { next: "Stop the other program, or unmount the disk." },
  DiskUnusable: { next: "Name a disk or an image file of whole sectors of 512 or 4096 bytes." },
  GptDamaged: { next: "Restore the table from a backup (sgdisk -l), or install the machine anew." },
  GptUnsupported: { next: "Lay out the disk as docs/disk.md describes." },
  WriteLost: { next: "The disk did not keep what was written: replace it." },
  SlotMissing: {
    next: "The disk needs two slot partitions, and must be the one that the machine booted from.",
  },
  StateMissing: { next: "Make a partition labelled SLIPWAY-STATE." },
  SlotTooSmall: { next: "Enlarge the slot partitions, or build a smaller image.", refused: true },
  // Boot bits
  RunningSlot: { next: "Only the passive slot may be written or cleared." },
  RunningNotGood: { next: "Wait until the running slot is marked good; it is the fallback." },
  SlotIncomplete: { next: "Install an image into the slot first." },
  NothingBootable: { next: "Mark the other slot good, or install an image into it, first." },
  // Image and trust
  TargetInvalid: { next: "Correct the Release.", refused: true },
  ManifestInvalid: { next: "Build the image anew with `slipway image build`.", refused: true },
  ImageInvalid: {
    next: "Build the image anew with `slipway image build`, and publish all of its files.",
    refused: true,
  },
  TrustInvalid: { next: "Correct the machine's trust file." },
  Unsigned: {
    next: "Sign the image with `slipway image sign` and a key that this machine trusts.",
    refused: true,
  },
  SignatureInvalid: {
    next: "Sign the image again; if nobody changed it on purpose, ask who did.",
    refused: true,
  },
  WrongProduct: { next: "Point the group at a release for this product and architecture.", refused: true },
  DowngradeRefused: { next: "Annotate the NodeUpdate with slipway.dev/allow-downgrade.", refused: true },
  NotReachable: { next: "Declare a stepping stone, or lower `updatesFrom`.", refused: true },
  // Staging
  SourcesFailed: { next: "Check the mirrors of the Release and the way to them." },
  ReadBackMismatch: { next: "It is tried again; if it repeats, suspect the disk." },
} as const satisfies Record<string, Entry>;

export type FastPatchErrorCode = keyof typeof catalogue;

export class FastPatchError extends Error {
  override readonly name = "FastPatchError";
  readonly code: FastPatchErrorCode;
  /** Whether trying again with the same image gives the same answer. */
  readonly refused: boolean;

  /** `what` is a clause without a full stop; what to do is added to it. */
  constructor(code: FastPatchErrorCode, what: string, options?: ErrorOptions) {
    const entry: Entry = catalogue[code];
    super(`${what}. ${entry.next}`, options);
    this.code = code;
    this.refused = entry.refused === true;
  }
}
