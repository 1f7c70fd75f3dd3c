/** The agent alone: what is bundled for machines. */
import { agentCommand } from "./command.ts";

agentCommand()
  .parseAsync()
  .catch((error: unknown) => {
    process.stderr.write(`slipway agent: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
