/** kubectl port-forward, by scripts that say what it says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../ports/clock.ts";
import { openPortForward } from "./port-forward.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "slipway-forward-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A hundred times as fast. */
const hasty = { ...systemClock, after: (ms: number, fn: () => void) => systemClock.after(ms / 100, fn) };
const listens = 'echo "Forwarding from 127.0.0.1:40123 -> 7445"; echo "Handling connection for 40123"';

function forward(script: string, { clock = systemClock, signal = new AbortController().signal } = {}) {
  const kubectl = `#!/bin/sh\necho "$$" >"${folder}/pid"\necho "$@" >"${folder}/args"\n${script}\n`;
  writeFileSync(join(folder, "kubectl"), kubectl, { mode: 0o755 });
  const to = { namespace: "ns", service: "console", port: 443, flags: ["--context", "there"] };
  return openPortForward(to, { env: { PATH: `${folder}:/usr/bin:/bin` }, clock, signal });
}

function runs(): boolean {
  try {
    process.kill(Number(readFileSync(join(folder, "pid"), "utf8")), 0);
    return true;
  } catch {
    return false;
  }
}

test("it is open until it is closed", async () => {
  const opened = await forward(`${listens}; exec sleep 600`);
  expect(opened.port).toBe(40_123);
  expect(readFileSync(join(folder, "args"), "utf8")).toBe(
    "port-forward --address 127.0.0.1 --namespace ns service/console :443 --context there\n",
  );
  expect(runs()).toBe(true);
  await opened.close();
  expect(runs()).toBe(false);
});

test("what does not end when it is asked to is killed", async () => {
  const opened = await forward(`trap "" TERM; ${listens}; exec sleep 600`, { clock: hasty });
  await opened.close();
  expect(runs()).toBe(false);
});

test.each([
  ['echo "error: Pods is forbidden" >&2; exit 1', "kubectl port-forward ended: Pods is forbidden"],
  ["exit 3", "kubectl port-forward ended: with 3, and said nothing"],
  ['echo "Forwarding from nowhere"; exit 0', "kubectl port-forward ended: with 0, and said nothing"],
])("that it ended is told with its own words: %s", async (script, sentence) => {
  await expect(forward(script)).rejects.toThrow(sentence);
});

test("one that never listens is ended", async () => {
  await expect(forward("exec sleep 600", { clock: hasty })).rejects.toThrow("did not listen within 20 s");
  expect(runs()).toBe(false);
});

test("an interrupt ends it", async () => {
  const stop = new AbortController();
  const opened = forward(`exec sleep 600`, { signal: stop.signal });
  await expect.poll(runs, { timeout: 10_000 }).toBe(true);
  stop.abort();
  await expect(opened).rejects.toThrow("was interrupted");
  expect(runs()).toBe(false);
});

test("without kubectl it says so", async () => {
  const to = { namespace: "ns", service: "console", port: 443 };
  const { signal } = new AbortController();
  await expect(openPortForward(to, { env: { PATH: folder }, clock: systemClock, signal })).rejects.toThrow(
    "kubectl is not on the PATH",
  );
});
