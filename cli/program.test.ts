/** The commands as such: what pages and advice name exists, what a shell is offered, how errors end. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { updateGroup } from "../api/update-group.ts";
import { complete, expectedAt } from "./complete.ts";
import { explained } from "./explain/cases.ts";
import { fakeIo } from "./fake-io.ts";
import { pluginProgram, runPlugin } from "./program.ts";
import { cliPage } from "./reference.ts";
import { VERSION } from "./version.ts";

const root = join(import.meta.dirname, "..");
const program = pluginProgram(fakeIo());

/** What is wrong with the words after `kubectl slipway`; undefined if such a command and its options exist. */
function wrong(words: readonly string[]): string | undefined {
  let command = program;
  const options = [...program.options];
  let given = 0;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (word.startsWith("-")) {
      const option = options.find(({ long, short }) => long === word.split("=")[0] || short === word);
      if (option === undefined && word !== "--help") return `${command.name()} has no ${word}`;
      if (option?.required === true && !word.includes("=")) index++;
      continue;
    }
    const child = given === 0 ? command.commands.find((each) => each.name() === word) : undefined;
    if (child === undefined) {
      given++;
      const { registeredArguments: args } = command;
      // What has subcommands takes an argument only with an option that says so: `rollout --dry-run GROUP`.
      const option = words.some((each) => each.startsWith("--"));
      const takes = command.commands.length > 0 && !option ? 0 : args.length;
      if (given > takes && args.at(-1)?.variadic !== true) return `${command.name()} takes no ${word}`;
      continue;
    }
    command = child;
    options.push(...child.options);
  }
  // Lists by itself, and has subcommands beside.
  const acts = command.name() === "machines";
  const bare = command.commands.length > 0 && given === 0 && words.length > 0 && !acts;
  return bare ? `${command.name()} needs more` : undefined;
}

function commandsIn(text: string): string[][] {
  return [...text.matchAll(/kubectl slipway ([^`\n#|>]+)/g)].map(([, words = ""]) =>
    words
      .trim()
      .replaceAll(/"[^"]*"|'[^']*'/g, "TEXT")
      .split(/\s+/),
  );
}

test("what a list is filtered by is not offered to what stands beside it", async () => {
  const io = fakeIo();
  expect(await runPlugin(["machines", "steal", "--help"], io)).toBe(0);
  expect(io.written.out).toContain("--context");
  expect(io.written.out).not.toContain("--limit");
});

describe("every command that is named exists", () => {
  const pages = [
    "README.md",
    ...readdirSync(join(root, "docs"))
      .filter((file) => file.endsWith(".md"))
      .map((file) => `docs/${file}`),
  ];
  test.each(pages)("in %s", (page) => {
    // The design speaks of what is not built yet.
    if (page === "docs/design.md")
      return expect(readFileSync(join(root, page), "utf8")).toContain("kubectl slipway why NODE");
    const found = commandsIn(readFileSync(join(root, page), "utf8"));
    expect(found.map((words) => wrong(words)).filter((each) => each !== undefined)).toEqual([]);
  });

  test("in what `why` advises", () => {
    const files = readdirSync(join(root, "cli/testdata/why")).map((file) => file.replace(/\.json$/, ""));
    const advised = files.flatMap((file) => explained({ file })?.advice.map(({ command }) => command) ?? []);
    const found = advised.flatMap(commandsIn);
    expect(found.length).toBeGreaterThan(20);
    expect(found.map((words) => wrong(words)).filter((each) => each !== undefined)).toEqual([]);
  });

  test("and what does not is found", () => {
    expect(wrong(["rollout", "stop", "harbor"])).toBe("rollout takes no stop");
    expect(wrong(["node", "hold", "n", "--because"])).toBe("hold has no --because");
    expect(wrong(["node"])).toBe("node needs more");
  });
});

describe("completion", () => {
  const words = async (...typed: string[]): Promise<string> => {
    const io = fakeIo({ env: { KUBECONFIG: "/nowhere" } });
    await complete(program, typed, io);
    return io.written.out;
  };

  test.each([
    [["ro"], "rollout\n:4\n"],
    [["rollout", "pr"], "promote\n:4\n"],
    [["status", "-o", "j"], "json\n:4\n"],
    [["node", "hold", "n1", "--r"], "--reason\n:4\n"],
    [["release", "sign", ""], ":0\n"],
    [["--context", "c", "win"], "windows\n:4\n"],
    [["nothing", ""], expect.stringContaining("why\n")],
  ])("%j", async (typed, offered) => {
    if (typed[0] === "nothing") expect(expectedAt(program, typed).words).toEqual([]);
    else expect(await words(...typed)).toBe(offered);
  });

  test("names of objects, by the name of the argument; none where no cluster can be asked", async () => {
    expect(expectedAt(program, ["rollout", "pause", ""]).resources).toEqual([updateGroup]);
    expect(
      expectedAt(program, ["rollout", "promote", "stable", ""]).resources.map(({ kind }) => kind),
    ).toEqual(["Release"]);
    expect(expectedAt(program, ["why", ""]).resources.map(({ kind }) => kind)).toEqual([
      "Node",
      "NodeUpdate",
    ]);
    expect(expectedAt(program, ["why", "n1", ""]).resources).toEqual([]);
    expect(expectedAt(program, ["status", "one", ""]).resources).toEqual([updateGroup]);
    expect(
      expectedAt(program, ["rollout", "rollback", "g", "--node", "n1", ""]).resources.map(({ kind }) => kind),
    ).toEqual(["Node", "NodeUpdate"]);
    expect(await words("why", "")).toBe(":4\n");
  });
});

describe("how it ends", () => {
  test("an error goes to standard error, says what to do, and ends with 1", async () => {
    const io = fakeIo({ env: { KUBECONFIG: "/nowhere/a:/nowhere/b" } });
    expect(await runPlugin(["why", "n1"], io)).toBe(1);
    expect(io.written).toEqual({
      out: "",
      err: "error: no file of KUBECONFIG=/nowhere/a:/nowhere/b exists\n",
    });
  });

  test("help and a wrong flag", async () => {
    const io = fakeIo();
    expect(await runPlugin(["--help"], io)).toBe(0);
    expect(io.written.out).toContain("Usage: kubectl slipway [options] [command]");
    expect(await runPlugin(["status", "--colour"], io)).toBe(1);
    expect(io.written.err).toContain("unknown option '--colour'");
  });

  test("a reason is asked for, and an empty one is refused", async () => {
    const io = fakeIo();
    expect(await runPlugin(["node", "hold", "n1"], io)).toBe(1);
    expect(io.written.err).toContain("required option '--reason <text>' not specified");
  });

  test("rollout alone shows what it can do", async () => {
    const io = fakeIo();
    expect(await runPlugin(["rollout"], io)).toBe(1);
    expect(io.written.err).toContain("promote [options] <channel> <release>");
  });

  test("manifests from standard input", async () => {
    const io = fakeIo({ input: readFileSync(join(root, "cli/testdata/migrate/kured.yaml"), "utf8") });
    expect(await runPlugin(["migrate", "kured", "-f", "-"], io)).toBe(0);
    expect(io.written.out).toContain("kind: RebootWindow");
    expect(await runPlugin(["migrate", "kured", "-f", "/nowhere.yaml"], io)).toBe(1);
    expect(io.written.err).toContain("/nowhere.yaml can't be read");
  });
});

test("the version is that of package.json", () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(VERSION).toBe(version);
});

test("the reference names every command and option", () => {
  const page = cliPage(program, "0 or 1.");
  for (const line of [
    "## kubectl slipway why",
    "## kubectl slipway rollout promote",
    "Exit codes: 0 or 1.",
    "| `--reason <text>` (required) |",
    "(json, yaml, wide, name)",
  ])
    expect(page).toContain(line);
});
