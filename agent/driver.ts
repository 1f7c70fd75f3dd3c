/**
 * What updates the machine, as a port: `fastpatch-driver.ts` writes and flips slots,
 * `sentinel-driver.ts` only notices that somebody else's update wants a reboot.
 */
import type { Reason, Why } from "../api/reasons.ts";
import type { BootSlot, SlotName } from "../fastpatch/boot-control.ts";
import type { Desired, Target } from "../proto/gen/agent_pb.ts";

/** The complete, verified image in a slot. */
export interface Label {
  version: string;
  /** dm-verity root hash, lower-case hex: the image's identity. */
  rootHash: string;
}

/** A machine with two slots. A slot without a label holds nothing that is known to be complete. */
export interface SlotMachine {
  kind: "slots";
  running: SlotName;
  slots: readonly BootSlot[];
  labels: Readonly<Record<SlotName, Label | undefined>>;
}

/** A machine of which we know only whether it wants a reboot. */
export interface SentinelMachine {
  kind: "sentinel";
  /** Identifies what asks for the reboot; undefined if nothing does. */
  marker: string | undefined;
}

export type Machine = SlotMachine | SentinelMachine;

export interface StageProgress {
  phase: "Fetching" | "Verifying";
  /** Bytes. */
  done: number;
  total: number;
  fetched: number;
  reused: number;
}

/** What people and the machine's past allow now. */
export interface Consents {
  /** The group's consent to an unsigned image. */
  allowUnsigned: boolean;
  /** Highest version that was marked good here; "" if none. */
  floor: string;
  /** Version to which a person allowed a downgrade; "" if none. */
  allowDowngradeTo: string;
}

export function consentsOf(desired: Desired, floor: string): Consents {
  const { policy, allowDowngradeTo } = desired;
  return { allowUnsigned: policy?.allowUnsigned ?? false, floor, allowDowngradeTo };
}

export interface StageOptions extends Consents {
  signal: AbortSignal;
  /** Bytes per second; 0 is no limit. */
  rateLimit: number;
  onProgress: (progress: StageProgress) => void;
}

/** The image is not what was signed, or may not be installed here: trying again gives the same answer. */
export class ImageRefused extends Error {
  override readonly name = "ImageRefused";
  readonly reason: Reason;

  constructor(message: string, options: { reason?: Reason; cause?: unknown } = {}) {
    super(message, options);
    this.reason = options.reason ?? "ImageRefused";
  }
}

export interface Driver {
  readonly name: "fastpatch" | "sentinel";
  observe(): Promise<Machine>;
  /**
   * Writes `target` into the passive slot and verifies it; the next boot does not change.
   * Rejects with `ImageRefused` or with what went wrong this time.
   */
  stage(target: Target, options: StageOptions): Promise<void>;
  /**
   * Why `target` may not be staged, or boot where it is staged, by whom the machine trusts and
   * what is allowed now; undefined if it may.
   */
  objection(target: Target, consents: Consents): Promise<Why | undefined>;
  /** Lets `slot` boot next. `tries` 0 takes the only try beforehand, for a boot that the firmware does not see (kexec). */
  flip(slot: SlotName, tries: number): Promise<void>;
  unflip(): Promise<void>;
  markGood(slot: SlotName): Promise<void>;
  markBad(slot: SlotName): Promise<void>;
}
