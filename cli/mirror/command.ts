/** `mirror`: Releases and their files over a gap that no network crosses. */
import { Command } from "commander";
import { addGlobalFlags } from "../connection.ts";
import type { Io } from "../io.ts";
import { systemIo } from "../system-io.ts";
import { addLoad } from "./load.ts";
import { addSave } from "./save.ts";

export function mirrorCommand(io: Io): Command {
  const command = new Command("mirror").description(
    "Carry Releases and their files into a network without a way out.",
  );
  addSave(command, io);
  addLoad(command, io);
  return command;
}

/** `slipway mirror`, as a role of the image: where there is no kubectl. */
export function mirrorRole(): Command {
  const stop = new AbortController();
  const command = mirrorCommand(systemIo(stop.signal));
  // Only where it runs: other roles are asked to stop in their own way.
  command.hook("preAction", () => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
  });
  return addGlobalFlags(command);
}
