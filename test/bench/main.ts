/**
 * `npm run bench -- NAME`: runs a benchmark, prints its result, and writes it to
 * bench/NAME.json with the date and the machine, newest last.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";

type Benchmark = (options: { onProgress: (line: string) => void }) => Promise<object>;

const benchmarks: Record<string, () => Promise<{ run: Benchmark }>> = {
  image: () => import("./image.ts"),
  install: () => import("./install.ts"),
  memory: () => import("./memory.ts"),
};

/** Results that a file keeps. */
const KEPT = 20;

const name = process.argv[2] ?? "";
const load = benchmarks[name];
if (load === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(benchmarks).join("|")}\n`);
  process.exit(2);
}
const { run } = await load();
const result = await run({ onProgress: (line) => process.stderr.write(`${line}\n`) });
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
  },
  ...result,
};
mkdirSync(folder, { recursive: true });
writeFileSync(file, `${JSON.stringify([...before, entry].slice(-KEPT), null, 2)}\n`);
process.stdout.write(`${JSON.stringify(entry, null, 2)}\n`);
process.exit(0);
