/**
 * What an event means, of which update_engine sends a few kinds (facts of its source: omaha_request_action.cc,
 * action_processor and prefs; the tables of go-omaha).
 */
import type { OmahaEvent } from "./request.ts";

export type Meaning =
  | { is: "downloading" | "downloaded" | "staged" | "held" }
  /** The first check after a boot into a new version. */
  | { is: "completed"; from: string }
  /** An ordinary check, or the first one of an installation. */
  | { is: "idle" }
  /** Booted into the version from before the update. */
  | { is: "rolledBack" }
  | { is: "failed"; code: number }
  | { is: "deferred" }
  | { is: "unknown" };

/**
 * Flags of an error code (update_engine action_processor.h: kErrorCodeDevModeFlag, ResumedFlag, TestImageFlag,
 * TestOmahaUrlFlag): the last is set on each client that does not ask the vendor's own server.
 */
const CODE = 0x0f_ff_ff_ff;
const ROLLED_BACK = 44;

/** Without its flags. */
export function codeOf(errorCode: number): number {
  return errorCode & CODE;
}

export function meaningOf({ type, result, errorCode, previousVersion }: OmahaEvent): Meaning {
  const code = codeOf(errorCode);
  switch (`${type}:${result}`) {
    case "13:1":
      return { is: "downloading" };
    case "14:1":
      return { is: "downloaded" };
    case "3:1":
      return { is: "staged" };
    case "800:1":
      return { is: "held" };
    case "3:2":
      // updateservicectl's fake machines send it with each check, and without the attribute.
      return previousVersion === undefined || previousVersion === "" || previousVersion === "0.0.0.0"
        ? { is: "idle" }
        : { is: "completed", from: previousVersion };
    case "3:9":
      return { is: "deferred" };
    default:
      if (result !== 0 || type !== 3) return { is: "unknown" };
      return code === ROLLED_BACK ? { is: "rolledBack" } : { is: "failed", code };
  }
}
