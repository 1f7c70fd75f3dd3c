/** `kubectl slipway`: the plugin's commands. */
import { Command, CommanderError, type Option } from "commander";
import { complete } from "./complete.ts";
import { addGlobalFlags } from "./connection.ts";
import { doctorCommand } from "./doctor/command.ts";
import { Failure, type Io } from "./io.ts";
import { locksCommand } from "./locks.ts";
import { machinesCommand } from "./machines.ts";
import { migrateCommand } from "./migrate/command.ts";
import { mirrorCommand } from "./mirror/command.ts";
import { applyCommand, nodeCommand } from "./node.ts";
import { releaseCommand } from "./release.ts";
import { rolloutCommand } from "./rollout.ts";
import { statusCommand } from "./status.ts";
import { versionCommand } from "./version.ts";
import { whyCommand } from "./why.ts";
import { windowsCommand } from "./windows.ts";

export function pluginProgram(io: Io): Command {
  const program = addGlobalFlags(new Command("kubectl slipway"))
    .description("See and steer image-based updates and reboots of a cluster's nodes.")
    .configureHelp({ showGlobalOptions: true });
  const commands = [
    statusCommand,
    whyCommand,
    rolloutCommand,
    nodeCommand,
    applyCommand,
    locksCommand,
    windowsCommand,
    machinesCommand,
    doctorCommand,
    migrateCommand,
    mirrorCommand,
    releaseCommand,
    versionCommand,
  ];
  for (const command of commands) program.addCommand(command(io));
  prepare(program, io);
  return program;
}

/** Output through `io`, no exit from inside, and help after a wrong call. */
function prepare(command: Command, io: Io, program = command): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => io.out(text),
    writeErr: (text) => io.err(text),
    getOutHelpWidth: () => 100,
    getErrHelpWidth: () => 100,
  });
  // What `machines` lists by is nothing to its subcommands.
  const visibleGlobalOptions = (of: Command): Option[] => (of === program ? [] : [...program.options]);
  command.configureHelp({ showGlobalOptions: true, visibleGlobalOptions });
  command.showHelpAfterError(`See \`${commandPath(command)} --help\`.`);
  for (const child of command.commands) prepare(child, io, program);
}

function commandPath(command: Command): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${commandPath(parent)} ${command.name()}`;
}

/** What `kubectl_complete-slipway` calls. */
const COMPLETE = "__complete";

/** Runs the plugin; gives its exit code. Never throws. */
export async function runPlugin(args: readonly string[], io: Io): Promise<number> {
  const program = pluginProgram(io);
  try {
    if (args[0] === COMPLETE) {
      await complete(program, args.slice(1), io);
      return 0;
    }
    await program.parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    io.err(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    return error instanceof Failure ? error.code : 1;
  }
}
