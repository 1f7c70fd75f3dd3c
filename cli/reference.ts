/** The reference pages of the programs, from their commands' own definitions. */
import type { Command, Option } from "commander";

const HEADER = "<!-- Generated from the commands by `npm run generate`: do not edit. -->\n";

/** Markdown of `program` and all that is below it. `ends`: what its exit codes say. */
export function cliPage(program: Command, ends: string): string {
  const globals = options(program);
  const shared =
    globals.length === 0 ? [] : ["Every command takes these, before or after its name:", "", ...globals, ""];
  const lines = [
    HEADER,
    `# ${program.name()}`,
    "",
    program.description(),
    "",
    ...shared,
    `Exit codes: ${ends}`,
    "",
    ...program.commands.flatMap((command) => section(command, program.name())),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

function section(command: Command, parent: string): string[] {
  const path = `${parent} ${command.name()}`;
  const lines: string[] = [];
  // `machines` prints a list, and has subcommands beside.
  const prints = command.options.some(({ long }) => long === "--output");
  const runs = command.commands.length === 0 || command.registeredArguments.length > 0 || prints;
  if (runs) {
    const list = options(command);
    lines.push(
      `## ${path}`,
      "",
      command.description(),
      "",
      ...command.aliases().flatMap((alias) => [`The same as \`${parent} ${alias}\`.`, ""]),
      `    ${parent} ${command.name()} ${command.usage()}`.trimEnd(),
      "",
    );
    const described = command.registeredArguments.filter(({ description }) => description !== "");
    if (described.length > 0)
      lines.push(...described.map((argument) => `- \`${argument.name()}\`: ${argument.description}`), "");
    if (list.length > 0) lines.push(...list, "");
  }
  return [...lines, ...command.commands.flatMap((child) => section(child, path))];
}

function options(command: Command): string[] {
  const shown = command.options.filter(({ hidden }) => !hidden);
  if (shown.length === 0) return [];
  return [
    "| option | |",
    "|---|---|",
    ...shown.map((option) => {
      const choices = option.argChoices === undefined ? "" : ` (${option.argChoices.join(", ")})`;
      const must = option.mandatory ? " (required)" : "";
      return `| \`${option.flags.replaceAll("|", "\\|")}\`${must} | ${option.description.replaceAll("|", "\\|")}${choices}${fallback(option)} |`;
    }),
  ];
}

function fallback({ defaultValue, defaultValueDescription }: Option): string {
  const told = defaultValueDescription ?? (typeof defaultValue === "boolean" ? undefined : defaultValue);
  return typeof told === "string" || typeof told === "number" ? ` (default: ${told})` : "";
}
