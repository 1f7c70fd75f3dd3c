/** The commands as such: what pages and advice name exists, what a shell is offered, how errors end. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { updateGroup } from "../api/update-group.ts";
import { namedInBlock, whyNotParsed } from "../test/docs/command.ts";
import { complete, expectedAt } from "./complete.ts";
import { explained } from "./explain/cases.ts";
import { fakeIo } from "./fake-io.ts";
import { pluginProgram, runPlugin } from "./program.ts";
import { cliPage } from "./reference.ts";
import { VERSION } from "./version.ts";

const root = join(import.meta.dirname, "..");
const program = pluginProgram(fakeIo());

test("what a list is filtered by is not offered to what stands beside it", async () => {
  const io = fakeIo();
  expect(await runPlugin(["machines", "steal", "--help"], io)).toBe(0);
  expect(io.written.out).toContain("--context");
  expect(io.written.out).not.toContain("--limit");
});

test("every command that `why` advises is parsed", async () => {
  const files = readdirSync(join(root, "cli/testdata/why")).map((file) => file.replace(/\.json$/, ""));
  const advised = files.flatMap((file) => explained({ file })?.advice.map(({ command }) => command) ?? []);
  const found = advised.flatMap((text) => namedInBlock({ text }));
  expect(found.length).toBeGreaterThan(20);
  const wrong = await Promise.all(found.map(async (each) => [each.text, await whyNotParsed(each)] as const));
  expect(wrong.filter(([, why]) => why !== undefined)).toEqual([]);
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
    [["locks", "st"], "status\nsteal\n:4\n"],
    [["locks", "status", "-o", "j"], "json\n:4\n"],
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
