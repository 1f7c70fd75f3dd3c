/** Small files of the machine that tell the agent where it runs. */

/**
 * The unique GUID of the slot that the kernel was told to boot from: `slipway.slot=GUID`,
 * or Flatcar's `verity.usr=PARTUUID=GUID`. Throws where there is none.
 */
export function bootSlotOf(cmdline: string): string {
  for (const word of cmdline.trim().split(/\s+/)) {
    const guid = /^(?:slipway\.slot=|(?:verity|mount)\.usr=PARTUUID=)([0-9a-fA-F-]{36})$/.exec(word)?.[1];
    if (guid !== undefined) return guid.toLowerCase();
  }
  throw new Error(
    "the kernel command line names no slot (slipway.slot=GUID or verity.usr=PARTUUID=GUID): give --boot-slot",
  );
}

/** `VERSION_ID` of os-release(5); "" if it has none. */
export function versionOf(osRelease: string): string {
  const value = /^VERSION_ID=(.*)$/m.exec(osRelease)?.[1]?.trim() ?? "";
  return /^(["'])(.*)\1$/.exec(value)?.[2] ?? value;
}
