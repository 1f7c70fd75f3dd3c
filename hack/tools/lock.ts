/** One builder at a time. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { onPath } from "../plane/process.ts";
import { ToolError } from "./cache.ts";

/** A build of everything takes about seven minutes on two cores; nobody waits longer than this. */
const LONGEST_WAIT_SECONDS = 45 * 60;

/**
 * Runs `work` while no other process holds the lock `file`. The lock is the kernel's (flock(1)),
 * held by a child that ends with us: it can't be left behind, and needs no guess about dead pids.
 * Without flock the work runs unlocked: results are renamed into place, so only time is lost.
 */
export async function withLock<T>(file: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const flock = onPath("flock");
  if (flock === undefined) return await work();
  writeFileSync(file, "", { flag: "a" });
  const holder = spawn(
    flock,
    [
      "--exclusive",
      "--timeout",
      String(LONGEST_WAIT_SECONDS),
      file,
      "sh",
      "-c",
      "echo held; exec cat >/dev/null",
    ],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const waiting = setTimeout(onWait, 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once("error", reject);
      holder.stdout.once("data", () => resolve());
      holder.once("exit", () =>
        reject(new ToolError(`Another process has held ${file} for 45 minutes: end it, then try again.`)),
      );
    });
    clearTimeout(waiting);
    return await work();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
  }
}
