/**
 * `npm run bench -- NAME`: runs a benchmark, prints its result, and writes it to
 * bench/NAME.json with the date and the machine, newest last.
 */
import { record } from "./record.ts";

type Benchmark = (options: { onProgress: (line: string) => void }) => Promise<object>;

const benchmarks: Record<string, () => Promise<{ run: Benchmark }>> = {
  console: () => import("./console.ts"),
  image: () => import("./image.ts"),
  install: () => import("./install.ts"),
  locks: () => import("./locks.ts"),
  memory: () => import("./memory.ts"),
  omaha: () => import("./omaha.ts"),
};

const name = process.argv[2] ?? "";
const load = benchmarks[name];
if (load === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(benchmarks).join("|")}\n`);
  process.exit(2);
}
const { run } = await load();
const result = await run({ onProgress: (line) => process.stderr.write(`${line}\n`) });
const entry = record(name, result);
process.stdout.write(`${JSON.stringify(entry, null, 2)}\n`);
process.exit(0);
