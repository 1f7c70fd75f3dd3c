/** Commands of ours that pages name, in their text and in their blocks, and whether ours parse so. */
import { type Command, CommanderError } from "commander";
import { fakeIo } from "../../cli/fake-io.ts";
import { pluginProgram } from "../../cli/program.ts";
import { slipwayProgram } from "../../roles.ts";
import { type Block, blocksOf, textOf } from "./page.ts";
import { filled } from "./stand-ins.ts";

/** How a page calls them. */
const OURS = /(kubectl slipway|npm run slipway --|slipway)((?: |$).*)/;
/** What ends a command of a shell, outside of quotes. */
const END = /^(?:[|;>)&]|2>|<<)/;

export interface Named {
  program: "kubectl slipway" | "slipway";
  words: string[];
  /** As it stands in the page. */
  text: string;
}

/** Words of a shell command up to its end; what is in quotes, or in `$(...)`, is one. */
export function shellWords(command: string): string[] {
  const words: string[] = [];
  for (const [word] of command.matchAll(/(?:\$\([^)]*\)|[^\s'"]|'[^']*'|"(?:\$\([^)]*\)|[^"])*")+/g)) {
    if (END.test(word)) break;
    words.push(word.replaceAll(/^(['"])(.*)\1$/g, "$2"));
  }
  return words;
}

function named(text: string): Named[] {
  const [whole, program = "", rest = ""] = OURS.exec(text) ?? [];
  if (whole === undefined) return [];
  return [
    {
      program: program === "kubectl slipway" ? program : "slipway",
      words: shellWords(filled(rest)),
      text: whole.trim(),
    },
  ];
}

/** A page's text without its blocks. */
function proseOf(page: string): string {
  return textOf(page).replaceAll(/^( *)```\w*\n[\s\S]*?^\1```$/gm, "");
}

/** Between backquotes, alone: from its first word on it is a command. `slipway a | b` is a list of names. */
export function inlineCommands(page: string, text = proseOf(page)): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].flatMap(([, command = ""]) =>
    /^[a-z-]+ /.test(command) && !command.includes(" | ") ? [command] : [],
  );
}

/** Ours, in a page's text. */
export function namedInline(page: string): Named[] {
  return inlineCommands(page)
    .filter((command) => /^(?:kubectl slipway|slipway) /.test(command))
    .flatMap(named);
}

/** Ours, in a block: at the beginning of a command, or in `$(...)`. */
export function namedInBlock({ text }: Pick<Block, "text">): Named[] {
  return text
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .flatMap((line) =>
      [...line.matchAll(/(?:^\s*|[|;&(]\s*)(?=(?:kubectl slipway|npm run slipway --|slipway) )/g)].flatMap(
        ({ index }) => named(line.slice(index)),
      ),
    );
}

export function namedInBlocks(page: string): Named[] {
  return blocksOf(page)
    .filter(({ language }) => language === "sh")
    .flatMap(namedInBlock);
}

/** Does nothing where it would act, and throws where it would exit. What only has subcommands still asks for one. */
function tamed(command: Command): Command {
  command.exitOverride().configureOutput({ writeOut: () => {}, writeErr: () => {} });
  for (const child of command.commands) {
    const acts = child.commands.length === 0 || child.registeredArguments.length + child.options.length > 0;
    tamed(acts ? child.action(() => {}) : child);
  }
  return command;
}

/**
 * What the program's own parser says against it: an unknown command or option, one that is missing, too many words.
 * Undefined where it would run. What is a command's name and nothing more speaks of it, and need not be whole.
 */
export async function whyNotParsed({
  program,
  words,
}: Pick<Named, "program" | "words">): Promise<string | undefined> {
  const parser = tamed(program === "slipway" ? await slipwayProgram() : pluginProgram(fakeIo()));
  if (isName(parser, words)) return undefined;
  try {
    await parser.parseAsync(words, { from: "user" });
    return undefined;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? undefined : error.message;
  }
}

function isName(program: Command, words: readonly string[]): boolean {
  let command: Command | undefined = program;
  for (const word of words)
    command = command?.commands.find((each) => [each.name(), ...each.aliases()].includes(word));
  return command !== undefined;
}
