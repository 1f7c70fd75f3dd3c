/** `kubectl slipway version`. */
import { Command } from "commander";
import { API_VERSION } from "../api/meta.ts";
import type { Io } from "./io.ts";
import { addOutputFlag, type OutputFlags, printData } from "./output.ts";

/** That of package.json; a test compares them. */
export const VERSION = "0.1.0";

export function versionCommand(io: Io): Command {
  const command = new Command("version")
    .description("Say which version of Slipway and of its API this plugin is.")
    .action((_: unknown, self: Command) => {
      const { output } = self.optsWithGlobals<OutputFlags>();
      const versions = { version: VERSION, apiVersion: API_VERSION };
      if (output === "json" || output === "yaml") printData(io, versions, output);
      else io.out(`kubectl-slipway ${VERSION}, for ${API_VERSION}\n`);
    });
  return addOutputFlag(command, ["json", "yaml"]);
}
