/** Runs `slipway ARGS` and gives its standard output. */
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";

const MAIN = resolve(import.meta.dirname, "../../main.ts");
const DEADLINE = 60_000;

export async function run(args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...args], { timeout: DEADLINE });
  return stdout;
}
