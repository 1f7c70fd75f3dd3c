/** The reference page of the plugin, from the commands' own definitions. */
import type { Command } from "commander";

const HEADER = "<!-- Generated from cli/ by `npm run generate`: do not edit. -->\n";

/** Markdown of `program` and all that is below it. */
export function cliPage(program: Command): string {
  const globals = options(program);
  const lines = [
    HEADER,
    `# ${program.name()}`,
    "",
    program.description(),
    "",
    "Every command takes these, before or after its name:",
    "",
    ...globals,
    "",
    "Exit codes: 0 done; 1 an error, whose cause and remedy stand on standard error, or, from `doctor` and `rollout status --wait`, something that is wrong.",
    "",
    ...program.commands.flatMap((command) => section(command, program.name())),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

function section(command: Command, parent: string): string[] {
  const path = `${parent} ${command.name()}`;
  const lines: string[] = [];
  const runs = command.commands.length === 0 || command.registeredArguments.length > 0;
  if (runs) {
    const list = options(command);
    lines.push(
      `## ${path}`,
      "",
      command.description(),
      "",
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
      const must = option.mandatory ? " Required." : "";
      return `| \`${option.flags.replaceAll("|", "\\|")}\` | ${option.description.replaceAll("|", "\\|")}${choices}${must} |`;
    }),
  ];
}
