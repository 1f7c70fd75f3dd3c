/** Driver `fastpatch`: our own A/B engine. */
import type { Reason } from "../api/reasons.ts";
import type { Engine } from "../fastpatch/engine.ts";
import { FastPatchError, type FastPatchErrorCode } from "../fastpatch/errors.ts";
import type { InstallTarget } from "../fastpatch/install.ts";
import type { Blob, Target } from "../proto/gen/agent_pb.ts";
import { type Driver, ImageRefused } from "./driver.ts";

/** Refusals that have a reason of their own. */
const REASONS: Partial<Record<FastPatchErrorCode, Reason>> = {
  DowngradeRefused: "DowngradeRefused",
  NotReachable: "UpdateNotReachable",
};

/** `runningVersion`: VERSION_ID of os-release, for the oldest version that a release may be reached from. */
export function fastpatchDriver(engine: Engine, runningVersion: string): Driver {
  const { bootControl } = engine;
  return {
    name: "fastpatch",
    observe: async () => {
      const [slots, labels] = [await bootControl.slots(), await engine.labels()];
      return { kind: "slots", running: bootControl.running, slots, labels };
    },
    stage: async (target, options) => {
      try {
        await engine.install(installTarget(target), { ...options, runningVersion });
      } catch (error) {
        throw error instanceof FastPatchError && error.refused ? refusal(error) : error;
      }
    },
    objection: async (target, consents) => {
      try {
        await engine.check(installTarget(target), { ...consents, runningVersion });
        return undefined;
      } catch (error) {
        // A trust file that can't be read trusts nobody, and must not keep the agent from its other work.
        const refused = error instanceof FastPatchError ? refusal(error) : error;
        if (!(refused instanceof ImageRefused)) throw refused;
        return { reason: refused.reason, message: refused.message };
      }
    },
    flip: (slot, tries) => bootControl.setNext(slot, tries),
    unflip: () => bootControl.cancelNext(),
    markGood: (slot) => bootControl.markGood(slot),
    markBad: (slot) => bootControl.markBad(slot),
  };
}

function refusal(error: FastPatchError): ImageRefused {
  const reason = REASONS[error.code] ?? "ImageRefused";
  return new ImageRefused(`${error.code}: ${error.message}`, { reason, cause: error });
}

/** Rejects what a gateway must not leave out; the rest is checked by the engine. */
function installTarget(target: Target): InstallTarget {
  const { version, product, architecture, rootHash, updatesFrom, signatures } = target;
  return {
    version,
    product,
    architecture,
    rootHash,
    image: blob(target.image, "image"),
    manifest: blob(target.manifest, "manifest"),
    signatures: signatures.map(({ keyId, signature }) => ({ keyId, signature })),
    updatesFrom,
  };
}

function blob(from: Blob | undefined, name: string): InstallTarget["image"] {
  if (from === undefined) throw new ImageRefused(`the target has no ${name}`);
  return { urls: from.urls, size: Number(from.size), sha256: from.sha256 };
}
