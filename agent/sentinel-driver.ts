/**
 * Driver `sentinel`: something else updates the machine; a file that exists, or a command
 * of the allow list that exits with 0, says that it needs a reboot.
 */
import { stat } from "node:fs/promises";
import type { Driver } from "./driver.ts";
import type { Host } from "./host.ts";

const COMMAND_TIMEOUT = 30_000;

export type Sentinel = { file: string } | { command: string };

export function sentinelDriver(sentinel: Sentinel, host: Pick<Host, "runCommand">): Driver {
  const nothing = async (): Promise<never> => {
    throw new Error("the driver sentinel has no slots");
  };
  return {
    name: "sentinel",
    observe: async () => ({
      kind: "sentinel",
      marker:
        "file" in sentinel ? await fileMarker(sentinel.file) : await commandMarker(sentinel.command, host),
    }),
    stage: nothing,
    flip: nothing,
    unflip: nothing,
    markGood: nothing,
    markBad: nothing,
  };
}

/** A file that is made anew is another marker: its time of change tells. */
async function fileMarker(path: string): Promise<string | undefined> {
  try {
    const { mtimeMs } = await stat(path);
    return `${path} of ${new Date(mtimeMs).toISOString()}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function commandMarker(name: string, host: Pick<Host, "runCommand">): Promise<string | undefined> {
  return (await host.runCommand(name, COMMAND_TIMEOUT)) === 0 ? `command ${name}` : undefined;
}
