/**
 * Driver `sentinel`: something else updates the machine; a file that exists, or a command
 * of the allow list that exits with 0, says that it needs a reboot. A command says no with
 * 1; any other end says nothing, and what is known of the machine stays.
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
    objection: async () => undefined,
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
  const code = await host.runCommand(name, COMMAND_TIMEOUT);
  if (code === 0) return `command ${name}`;
  if (code === 1) return undefined;
  throw new Error(
    `the command ${name} ended with ${code}${code === 124 ? " (took too long)" : ""}: 0 (a reboot is required) or 1 (none is) expected`,
  );
}
