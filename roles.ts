/** The roles of `slipway`, one a subcommand. A role's code is loaded only when it runs: the agent must stay small. */
import { Command } from "commander";

/** Subcommand -> what loads the module that defines it. */
const roles: Readonly<Record<string, () => Promise<Command>>> = {
  manager: async () => (await import("./controllers/command.ts")).managerCommand(),
  gateway: async () => (await import("./gateway/command.ts")).gatewayCommand(),
  agent: async () => (await import("./agent/command.ts")).agentCommand(),
  certificates: async () => (await import("./install/certificates/command.ts")).certificatesCommand(),
  probe: async () => (await import("./install/probe/command.ts")).probeCommand(),
  uninstall: async () => (await import("./install/uninstall/command.ts")).uninstallCommand(),
  image: async () => (await import("./cli/image.ts")).imageCommand(),
  payload: async () => (await import("./cli/payload.ts")).payloadCommand(),
  mirror: async () => (await import("./cli/mirror/command.ts")).mirrorRole(),
  "join-token": async () => (await import("./gateway/join-token.ts")).joinTokenCommand(),
};

/** `slipway` with the role `wanted`, or with all where that is none. */
export async function slipwayProgram(wanted?: string): Promise<Command> {
  const program = new Command("slipway").description(
    "Image-based A/B updates and serialized reboots for a fleet of machines.",
  );
  const role = wanted === undefined ? undefined : roles[wanted];
  for (const load of role === undefined ? Object.values(roles) : [role]) program.addCommand(await load());
  return program;
}
