#!/usr/bin/env node
/** `slipway`: one program, one role a subcommand. A role's code is loaded only when it runs: the agent must stay small. */
import { Command } from "commander";

/** Subcommand -> the module that defines it. */
const roles: Record<string, () => Promise<Command>> = {
  manager: async () => (await import("./controllers/command.ts")).managerCommand(),
  gateway: async () => (await import("./gateway/command.ts")).gatewayCommand(),
  agent: async () => (await import("./agent/command.ts")).agentCommand(),
  certificates: async () => (await import("./install/certificates/command.ts")).certificatesCommand(),
  probe: async () => (await import("./install/probe/command.ts")).probeCommand(),
  uninstall: async () => (await import("./install/uninstall/command.ts")).uninstallCommand(),
  image: async () => (await import("./cli/image.ts")).imageCommand(),
  "join-token": async () => (await import("./gateway/join-token.ts")).joinTokenCommand(),
};

const program = new Command("slipway").description(
  "Image-based A/B updates and serialized reboots for a fleet of machines.",
);
const wanted = process.argv[2];
const role = wanted === undefined ? undefined : roles[wanted];
if (role !== undefined) program.addCommand(await role());
else for (const load of Object.values(roles)) program.addCommand(await load());

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`slipway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
