/** Which versions a machine may go to. */
import { compareVersions } from "../api/version.ts";
import { FastPatchError } from "./errors.ts";

export interface VersionStep {
  running: string;
  target: string;
  /** Oldest version that may update to the target directly. */
  updatesFrom?: string;
  /** Highest version that was ever marked good here: the anti-downgrade mark. Absent on a new machine. */
  floor?: string;
  /** Version to which a person allowed a downgrade. */
  allowDowngradeTo?: string;
}

/** Throws where the step is not allowed. Empty strings count as absent. */
export function checkVersion({ running, target, updatesFrom, floor, allowDowngradeTo }: VersionStep): void {
  if (floor && target !== allowDowngradeTo && compareVersions(target, floor) < 0) {
    throw new FastPatchError(
      "DowngradeRefused",
      `version ${target} is older than ${floor}, which ran well here`,
    );
  }
  if (updatesFrom && compareVersions(running, updatesFrom) < 0) {
    throw new FastPatchError(
      "NotReachable",
      `version ${target} updates from ${updatesFrom} or later, but ${running} runs`,
    );
  }
}
