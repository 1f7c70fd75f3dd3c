import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addConsoleFlags, ConsoleFlags, consoleSettings } from "./flags.ts";

let folder: string;
let key: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "slipway-flags-"));
  key = join(folder, "keys");
  writeFileSync(
    key,
    `${Buffer.alloc(32, 1).toString("base64")}\n${Buffer.alloc(32, 2).toString("base64")}\n`,
  );
  mkdirSync(join(folder, "console/icons"), { recursive: true });
  for (const [path, text] of [
    ["console/index.html", "<p>"],
    ["console/icons/a.svg", "<svg/>"],
    ["console/notes.txt", "not for browsers"],
  ] as const)
    writeFileSync(join(folder, path), text);
});

afterAll(() => rmSync(folder, { recursive: true }));

function settings(...flags: string[]) {
  const command = addConsoleFlags(new Command().exitOverride());
  command.parse(flags, { from: "user" });
  const read = ConsoleFlags.safeParse(command.opts());
  if (!read.success) throw new Error(read.error.issues.map(({ message }) => message).join("; "));
  return consoleSettings(read.data, () => ({ fetch, close: async () => {} }), join(folder, "bin"));
}

test("without an address there is no console", () => {
  expect(settings()).toBeUndefined();
});

test("sessions are sealed with the file's keys, and the page lies beside the program", () => {
  const found = settings("--console", ":8443", "--console-tls", "--console-key", key);
  expect(found).toMatchObject({ listen: { port: 8443 }, tls: true, secure: true, oidc: undefined });
  expect(found?.keys.map((one) => one[0])).toEqual([1, 2]);
  expect([...(found?.files.keys() ?? [])].toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
    "/icons/a.svg",
    "/index.html",
  ]);
});

test("behind an address of TLS cookies go over TLS only, whatever the listener has", () => {
  const by = (url: string) =>
    settings("--console", ":80", "--console-key", key, "--console-url", url)?.secure;
  expect(by("https://slipway.example.org")).toBe(true);
  expect(by("http://localhost:8080")).toBe(false);
});

test.each([
  [["--console", ":80"], "--console needs --console-key"],
  [["--console", "80"], "[HOST]:PORT expected"],
  [["--console", ":80", "--console-key", "KEY", "--console-url", "slipway.example.org"], "--console-url"],
  [["--console", ":80", "--console-key", "KEY", "--oidc-issuer-url", "https://id"], "needs --oidc-client-id"],
  [
    ["--console", ":80", "--console-key", "KEY", "--oidc-issuer-url", "https://id", "--oidc-client-id", "x"],
    "needs --console-url",
  ],
])("%j is refused: %s", (flags, why) => {
  expect(() => settings(...flags.map((flag) => (flag === "KEY" ? key : flag)))).toThrow(why);
});
