/** The catalogue of what can go wrong in the A/B engine. Codes are stable: logs, tests and people's notes name them. */

interface Entry {
  /** What is the matter, for the reference page. */
  when: string;
  /** What a person can do. */
  next: string;
  /** Whether trying again with the same image gives the same answer. */
  refused?: true;
}

export const fastPatchErrors = {
  // Disk and partition table
  DiskBusy: {
    when: "The passive slot is mounted, or another program, or another installation, writes it.",
    next: "Stop the other program, or unmount the disk.",
  },
  DiskUnusable: {
    when: "The file is no disk or image file, or its size is not one of whole sectors.",
    next: "Name a disk or an image file of whole sectors of 512 or 4096 bytes.",
  },
  GptDamaged: {
    when: "Both copies of the partition table are damaged.",
    next: "Restore the table from a backup (sgdisk -l), or install the machine anew.",
  },
  GptUnsupported: {
    when: "The table is of a form that is not understood, or its partitions overlap or lie outside of the disk.",
    next: "Lay out the disk as docs/disk.md describes.",
  },
  WriteLost: {
    when: "The partition table reads back other than it was written.",
    next: "The disk did not keep what was written: replace it.",
  },
  SlotMissing: {
    when: "The disk has not exactly two slots, or the partition that runs is none of them.",
    next: "The disk needs two slot partitions, and must be the one that the machine booted from.",
  },
  StateMissing: {
    when: "The disk has not exactly one partition labelled SLIPWAY-STATE.",
    next: "Make a partition labelled SLIPWAY-STATE.",
  },
  SlotTooSmall: {
    when: "The image with its hash tree is larger than the slot.",
    next: "Enlarge the slot partitions, or build a smaller image.",
    refused: true,
  },
  // Boot bits
  RunningNotGood: {
    when: "The passive slot was to be written or booted while the running one is not marked good.",
    next: "Wait until the running slot is marked good; it is the fallback.",
  },
  SlotIncomplete: {
    when: "A slot without a complete image was to be booted or marked good.",
    next: "Install an image into the slot first.",
  },
  NothingBootable: {
    when: "The change would leave no slot that boots.",
    next: "Mark the other slot good, or install an image into it, first.",
  },
  // Image and trust
  TargetInvalid: {
    when: "The Release names something that can't be.",
    next: "Correct the Release.",
    refused: true,
  },
  ManifestInvalid: {
    when: "The manifest is too large, damaged, or of another image.",
    next: "Build the image anew with `slipway image build`.",
    refused: true,
  },
  ImageInvalid: {
    when: "The image is empty or too large, or what a mirror serves is not what was signed.",
    next: "Build the image anew with `slipway image build`, and publish all of its files.",
    refused: true,
  },
  TrustInvalid: {
    when: "The trust file is no JSON, or not of the form that docs/disk.md has.",
    next: "Correct the machine's trust file.",
  },
  Unsigned: {
    when: "Fewer signatures by trusted keys than the machine's threshold.",
    next: "Sign the image with `slipway image sign` and a key that this machine trusts.",
    refused: true,
  },
  SignatureInvalid: {
    when: "A signature by a trusted key does not fit what the Release says.",
    next: "Sign the image again; if nobody changed it on purpose, ask who did.",
    refused: true,
  },
  WrongProduct: {
    when: "Product or architecture are not those of the running system.",
    next: "Point the group at a release for this product and architecture.",
    refused: true,
  },
  DowngradeRefused: {
    when: "The version is older than one that ran well on the machine.",
    next: "Annotate the NodeUpdate with slipway.dev/allow-downgrade.",
    refused: true,
  },
  NotReachable: {
    when: "The running version is older than the release's `updatesFrom`.",
    next: "Declare a stepping stone, or lower `updatesFrom`.",
    refused: true,
  },
  // Staging
  SourcesFailed: {
    when: "No mirror gave what was asked for.",
    next: "Check the mirrors of the Release and the way to them.",
  },
  ReadBackMismatch: {
    when: "What was written into the slot reads back as something else.",
    next: "It is tried again; if it repeats, suspect the disk.",
  },
  // Payloads of update_engine
  PayloadInvalid: {
    when: "The file is no payload of update_engine (CrAU), or what its manifest says can't be.",
    next: "Fetch it again; a page of a proxy in its place, or a file that was cut off, is the usual cause.",
  },
  PayloadDamaged: {
    when: "Size or hash of a payload, or of the data of one of its operations, is not what was said.",
    next: "Fetch it again from its vendor.",
  },
  PayloadUntrusted: {
    when: "No signature that update_engine takes notice of fits the payload and the key.",
    next: "Check that the key is the vendor's (update-payload-key.pub.pem of the image); if it is, do not use the payload.",
  },
  PayloadKeyInvalid: {
    when: "The key for a payload is no RSA public key of at least 2048 bits.",
    next: "Give the PEM file of the vendor's public key.",
  },
} as const satisfies Record<string, Entry>;

export type FastPatchErrorCode = keyof typeof fastPatchErrors;

export class FastPatchError extends Error {
  override readonly name = "FastPatchError";
  readonly code: FastPatchErrorCode;
  /** Whether trying again with the same image gives the same answer. */
  readonly refused: boolean;

  /** `what` is a clause without a full stop; what to do is added to it. */
  constructor(code: FastPatchErrorCode, what: string, options?: ErrorOptions) {
    const entry: Entry = fastPatchErrors[code];
    super(`${what}. ${entry.next}`, options);
    this.code = code;
    this.refused = entry.refused === true;
  }
}
