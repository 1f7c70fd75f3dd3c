/** The A/B engine of one machine: what the agent holds. */
import type { Clock } from "../ports/clock.ts";
import type { BootControl, SlotName } from "./boot-control.ts";
import { type Disk, region } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { partitions } from "./gpt.ts";
import { repairGpt } from "./gpt-disk.ts";
import { createGptPrio } from "./gptprio.ts";
import { type InstallOptions, type InstallResult, type InstallTarget, install } from "./install.ts";
import { STATE_LABEL } from "./partition-table.ts";
import { type Consents, checkPermitted } from "./permission.ts";
import { readSlotLabel, type SlotLabel } from "./slot-label.ts";
import type { Source } from "./source.ts";
import type { TrustRoots } from "./trust.ts";

export interface EngineOptions {
  disk: Disk;
  /** Unique GUID of the partition of the slot that this boot came from (PARTUUID). */
  runningPartition: string;
  clock: Clock;
  source: Source;
  /** Whom the machine trusts, as its file says now. */
  trust: () => Promise<TrustRoots>;
}

export interface Engine {
  readonly bootControl: BootControl;
  /** The partition labelled SLIPWAY-STATE: the agent's memory. */
  readonly state: Disk;
  /** What each slot holds completely. */
  labels(): Promise<Record<SlotName, SlotLabel | undefined>>;
  /** Rejects with FastPatchError where `target`, staged or not, may not be run by what is trusted and allowed now. */
  check(target: InstallTarget, consents: Consents): Promise<void>;
  /** Stages an image into the passive slot; one at a time. See install.ts. */
  install(target: InstallTarget, options: InstallOptions): Promise<InstallResult>;
}

/** Repairs the partition table where it must, and finds slots and state. Closing the disk stays with the caller. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { disk, runningPartition } = options;
  const bootControl = await createGptPrio({ disk, runningPartition });
  const state = await stateRegion(disk);
  let installing = false;
  return {
    bootControl,
    state,
    labels: async () => {
      const found: Record<SlotName, SlotLabel | undefined> = { A: undefined, B: undefined };
      for (const { name, offset, size } of await bootControl.slots()) {
        found[name] = await readSlotLabel(region(disk, offset, size));
      }
      return found;
    },
    check: async (target, consents) =>
      checkPermitted(target, await options.trust(), consents, options.clock.now()),
    install: async (target, installOptions) => {
      if (installing) throw new FastPatchError("DiskBusy", "another installation writes the passive slot");
      installing = true;
      try {
        return await install({ ...options, bootControl }, target, installOptions);
      } finally {
        installing = false;
      }
    },
  };
}

async function stateRegion(disk: Disk): Promise<Disk> {
  const { primary } = await repairGpt(disk);
  const entries = partitions(primary).filter((entry) => entry.name === STATE_LABEL);
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) {
    throw new FastPatchError(
      "StateMissing",
      `the disk has ${entries.length} partitions labelled ${STATE_LABEL}, not one`,
    );
  }
  const { firstUsable, lastUsable } = primary.header;
  if (entry.firstLba < firstUsable || entry.lastLba < entry.firstLba || entry.lastLba > lastUsable) {
    throw new FastPatchError("GptUnsupported", `${STATE_LABEL} lies outside of the disk's usable space`);
  }
  return region(
    disk,
    entry.firstLba * disk.sectorSize,
    (entry.lastLba - entry.firstLba + 1) * disk.sectorSize,
  );
}
