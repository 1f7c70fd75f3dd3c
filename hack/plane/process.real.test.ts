import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Child } from "./process.ts";
import { waitUntil } from "./wait.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "slipway-process-"));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function shell(script: string): Promise<Child> {
  return Child.start({
    name: "shell",
    command: "/bin/sh",
    args: ["-c", script],
    logFile: join(directory, "log"),
  });
}

test("stop asks first, and insists where nobody listens", async () => {
  const polite = await shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done");
  await expect.poll(() => polite.logTail()).toBe("up");
  await polite.stop();
  expect(polite.exit).toEqual({ code: 3, signal: null });
  expect(polite.logTail(1)).toBe("bye");

  const deaf = await shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done");
  await expect.poll(() => deaf.logTail(1)).toBe("deaf");
  await deaf.stop(100);
  expect(deaf.exit).toEqual({ code: null, signal: "SIGKILL" });
});

test("a kill takes the grandchildren along", async () => {
  const child = await shell("sleep 600 & echo $!; wait");
  await expect.poll(() => child.logTail()).toMatch(/^\d+$/);
  const grandchild = Number(child.logTail());
  await child.kill();
  await expect.poll(() => isAlive(grandchild)).toBe(false);
});

test("a wait for a child that died says so at once, with its last words", async () => {
  const child = await shell("echo 'bind: address already in use'; exit 1");
  const wait = waitUntil(() => false, {
    what: "it serves",
    deadline: 60_000,
    hopeless: () => child.obituary(),
  });
  await expect(wait).rejects.toThrow(
    /it serves: shell ended with exit code 1.*\nbind: address already in use/,
  );
});

test("a program that is missing is an error of the start", async () => {
  const child = await Child.start({
    name: "ghost",
    command: "/nonexistent/ghost",
    args: [],
    logFile: join(directory, "log"),
  }).catch((error: unknown) => error);
  if (child instanceof Child) {
    await child.exited;
    expect(child.obituary()).toMatch(/No such file/);
  } else {
    expect(String(child)).toMatch(/ghost can't be started/);
  }
});

/** A program that starts a child and a directory to remove, says the child's pid, then runs `ending`. */
function parent(ending: string): ReturnType<typeof spawn> {
  const module = JSON.stringify(new URL("process.ts", import.meta.url).href);
  const script = `
    import { Child, removeAtExit } from ${module};
    removeAtExit(${JSON.stringify(join(directory, "temporary"))});
    const child = await Child.start({ name: "sleeper", command: "sleep", args: ["600"], logFile: "/dev/null" });
    process.stdout.write(String(child.pid));
    ${ending}`;
  return spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "ignore"],
  });
}

const FOREVER = "setInterval(() => undefined, 1000);";

test.each([
  { how: "SIGKILL", ending: FOREVER, signal: "SIGKILL" },
  { how: "SIGTERM", ending: FOREVER, signal: "SIGTERM" },
  { how: "SIGINT", ending: FOREVER, signal: "SIGINT" },
  { how: "an uncaught error", ending: 'throw new Error("oops");', signal: undefined },
  { how: "process.exit", ending: "process.exit(0);", signal: undefined },
] as const)("a child ends with its parent: $how", async ({ ending, signal }) => {
  mkdirSync(join(directory, "temporary"));
  const program = parent(ending);
  const pid = await new Promise<number>((resolve) => {
    program.stdout?.once("data", (text: Buffer) => resolve(Number(text.toString())));
  });
  if (signal !== undefined) program.kill(signal);
  await expect.poll(() => isAlive(pid)).toBe(false);
  if (signal !== "SIGKILL") await expect.poll(() => existsSync(join(directory, "temporary"))).toBe(false);
});

/** A dead process that its new parent has not reaped yet is a zombie, which is dead enough. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
