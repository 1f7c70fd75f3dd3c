/** Results of benchmarks: bench/NAME.json, with the date and the machine, newest last. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";

/** Results that a file keeps. */
const KEPT = 20;

/** Adds `result` to the file; gives what was added. */
export function record(name: string, result: object): object {
  const folder = join(import.meta.dirname, "../../bench");
  const file = join(folder, `${name}.json`);
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as object[]) : [];
  const entry = {
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      node: process.version,
      // Processes that wanted to run, over the last minute: above the cores, something else took its time.
      load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
    },
    ...result,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${JSON.stringify([...before, entry].slice(-KEPT), null, 2)}\n`);
  return entry;
}
