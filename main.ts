#!/usr/bin/env node
/** `slipway`: one program, one role a subcommand. */
import { slipwayProgram } from "./roles.ts";

try {
  await (await slipwayProgram(process.argv[2])).parseAsync();
} catch (error) {
  process.stderr.write(`slipway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
