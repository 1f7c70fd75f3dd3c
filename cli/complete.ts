/**
 * Shell completion. kubectl calls `kubectl_complete-slipway` with the words after
 * `kubectl slipway`, the last of which is being typed, and reads a candidate a line, then a
 * directive of cobra's: `:4` lets no file names be offered, `:0` does.
 */
import type { Argument, Command, Option } from "commander";
import { channel } from "../api/channel.ts";
import type { Resource } from "../api/kind.ts";
import { nodeUpdate } from "../api/node-update.ts";
import { release } from "../api/release.ts";
import { updateGroup } from "../api/update-group.ts";
import { NODES } from "../runtime/core.ts";
import { startDeadline } from "../runtime/deadline.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import type { Io } from "./io.ts";

/** What may stand where the cursor is: words, names of objects, or files. */
export interface Expected {
  words: readonly string[];
  resources: readonly Resource[];
  files: boolean;
}

const NOTHING: Expected = { words: [], resources: [], files: false };

/** By the name of an argument, or of an option's value. */
const RESOURCES: Readonly<Record<string, readonly Resource[]>> = {
  node: [NODES, nodeUpdate],
  name: [],
  group: [updateGroup],
  channel: [channel],
  release: [release],
};
const FILES = ["file", "input", "manifest", "directory"];
/** A shell waits for us: ms. */
const PATIENCE = 3000;

/** Prints what may follow `words`; never fails, for a shell shows no errors. */
export async function complete(program: Command, words: readonly string[], io: Io): Promise<void> {
  const typed = words.at(-1) ?? "";
  const expected = expectedAt(program, words);
  const found = [...expected.words];
  if (expected.resources.length > 0) found.push(...(await objectsOf(expected.resources, flagsOf(words), io)));
  const fitting = [...new Set(found)].filter((word) => word.startsWith(typed));
  io.out([...fitting, expected.files ? ":0" : ":4"].map((line) => `${line}\n`).join(""));
}

export function expectedAt(program: Command, words: readonly string[]): Expected {
  const before = words.slice(0, -1);
  const typed = words.at(-1) ?? "";
  let command = program;
  let position = 0;
  let pending: Option | undefined;
  for (const word of before) {
    if (pending !== undefined && !word.startsWith("-")) {
      if (!pending.variadic) pending = undefined;
      continue;
    }
    pending = undefined;
    if (word.startsWith("-")) {
      const option = word.includes("=") ? undefined : optionOf(command, word);
      if (option !== undefined && (option.required || option.optional)) pending = option;
      continue;
    }
    const child: Command | undefined = command.commands.find((each) => namesOf(each).includes(word));
    if (child === undefined) position++;
    else [command, position] = [child, 0];
  }
  if (pending !== undefined && !typed.startsWith("-")) return valueOf(pending, command);
  if (typed.startsWith("-"))
    return { ...NOTHING, words: allOptions(command).flatMap(({ long }) => long ?? []) };
  const { registeredArguments: args } = command;
  const argument = args[position] ?? (args.at(-1)?.variadic === true ? args.at(-1) : undefined);
  const children = position === 0 ? command.commands.flatMap(namesOf) : [];
  return { ...expectedOf(argument, command), words: children };
}

function namesOf(command: Command): string[] {
  return [command.name(), ...command.aliases()];
}

function valueOf(option: Option, command: Command): Expected {
  if (option.argChoices !== undefined) return { ...NOTHING, words: option.argChoices };
  const [, value = ""] = /<([a-z-]+)/.exec(option.flags) ?? [];
  const name =
    option.attributeName() === "release" ? "release" : option.attributeName() === "node" ? "node" : value;
  return expectedOf({ name: () => name }, command);
}

function expectedOf(argument: Pick<Argument, "name"> | undefined, command: Command): Expected {
  const name = argument?.name() ?? "";
  // `release sign RELEASE` takes a file, `rollout promote CHANNEL RELEASE` an object.
  const files = FILES.includes(name) || (name === "release" && command.parent?.name() === "release");
  return { words: [], resources: files ? [] : (RESOURCES[name] ?? []), files };
}

function allOptions(command: Command): Option[] {
  const own = command.options.filter(({ hidden }) => !hidden);
  return command.parent === null ? own : [...own, ...allOptions(command.parent)];
}

function optionOf(command: Command, word: string): Option | undefined {
  return allOptions(command).find(({ long, short }) => long === word || short === word);
}

/** The flags that say which cluster is meant. */
function flagsOf(words: readonly string[]): GlobalFlags {
  const value = (...names: string[]): string | undefined => {
    for (const [index, word] of words.entries()) {
      if (names.includes(word)) return words[index + 1];
      const name = names.find((each) => word.startsWith(`${each}=`));
      if (name !== undefined) return word.slice(name.length + 1);
    }
    return undefined;
  };
  const [kubeconfig, context] = [value("--kubeconfig"), value("--context")];
  return {
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
  };
}

async function objectsOf(resources: readonly Resource[], flags: GlobalFlags, io: Io): Promise<string[]> {
  const limited = startDeadline(io.clock, PATIENCE, () => new Error("a shell waits for us"));
  try {
    return await withClient(flags, io, async (client) => {
      const lists = await Promise.all(
        resources.map((resource) => client.list(resource, { signal: limited.signal })),
      );
      return lists.flatMap(({ items }) => items.map(({ metadata }) => metadata.name)).toSorted();
    });
  } catch {
    return [];
  } finally {
    limited.cancel();
  }
}
