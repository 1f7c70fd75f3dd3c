/** Whether this machine may run an image: asked before it is staged, and again before it boots, which may be much later. */
import { FastPatchError } from "./errors.ts";
import type { ImageStatement } from "./statement.ts";
import { type ImageSignature, type TrustRoots, verifySignatures } from "./trust.ts";
import { checkVersion } from "./version.ts";

export interface PermissionRequest extends ImageStatement {
  signatures: readonly ImageSignature[];
  /** Oldest version that may update to this one directly. */
  updatesFrom?: string;
}

/** What people and the machine's past allow. Empty strings count as absent. */
export interface Consents {
  /** The group's consent to an unsigned image. */
  allowUnsigned: boolean;
  /** Highest version that was marked good here. */
  floor?: string;
  /** Version to which a person allowed a downgrade. */
  allowDowngradeTo?: string;
  runningVersion: string;
}

/** Throws FastPatchError where it may not: is it signed, and may this machine go there. `now` is wall time. */
export function checkPermitted(
  request: PermissionRequest,
  trust: TrustRoots,
  consents: Consents,
  now: number,
): void {
  const { version: target, signatures, updatesFrom = "" } = request;
  const { allowUnsigned, floor = "", allowDowngradeTo = "", runningVersion: running } = consents;
  try {
    verifySignatures(request, signatures, trust, { now, unsignedAllowed: allowUnsigned });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FastPatchError("TargetInvalid", error.message, { cause: error });
  }
  checkVersion({ running, target, updatesFrom, floor, allowDowngradeTo });
}
