/**
 * `npm test`: the pure tests, and the real ones on a control plane that is built when it is missing.
 * Options: --long (minutes instead of seconds), --pure (only those that need no tools), then file filters.
 * The last line is `N passed, N failed`. With CI=true a skipped test is a failed one.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Report, type Summary, summarize } from "./summary.ts";
import { ToolError } from "./tools/cache.ts";
import { PLANE_TOOLS, tools } from "./tools.ts";

const root = resolve(import.meta.dirname, "..");

const { values, positionals } = parseArgs({
  options: { long: { type: "boolean" }, pure: { type: "boolean" } },
  allowPositionals: true,
});

if (!values.pure) await makeTools();
process.exitCode = await runTests();

async function makeTools(): Promise<void> {
  try {
    await tools(PLANE_TOOLS);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    process.stderr.write(`slipway: ${error.message}\n0 passed, 1 failed\n`);
    process.exit(1);
  }
  try {
    await tools(["sgdisk", "cgpt"]);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    process.stderr.write(`slipway: the tests of disks will fail: ${error.message}\n`);
  }
  try {
    await tools(["promtool"]);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    process.stderr.write(`slipway: the tests of metrics and rules will fail: ${error.message}\n`);
  }
}

/** The bad days have the machine for themselves: what else ran would take their time. */
async function runTests(): Promise<number> {
  const runs = values.pure ? [["pure"]] : [["pure", "real"], ["days"]];
  let [passed, failed] = [0, 0];
  for (const projects of runs) {
    const summary = await runProjects(projects);
    for (const line of summary.lines) process.stdout.write(`${line}\n`);
    passed += summary.passed;
    failed += summary.failed;
  }
  if (passed + failed === 0) {
    process.stdout.write(`no test matches ${positionals.join(" ")}\n`);
    failed++;
  }
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

async function runProjects(projects: readonly string[]): Promise<Summary> {
  const directory = mkdtempSync(join(tmpdir(), "slipway-test-"));
  const report = join(directory, "report.json");
  const args = ["run", "--reporter=dot", "--reporter=json", `--outputFile.json=${report}`];
  // A filter may leave a project without files.
  if (positionals.length > 0) args.push("--passWithNoTests");
  try {
    const code = await vitest([...args, ...projects.map((name) => `--project=${name}`), ...positionals]);
    const parsed = JSON.parse(readFileSync(report, "utf8")) as Report;
    return summarize(parsed, {
      exitCode: code,
      skippedIsFailed: process.env.CI === "true",
      mayBeEmpty: positionals.length > 0,
    });
  } catch (error) {
    return { passed: 0, failed: 1, lines: [`vitest left no report: ${String(error)}`] };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function vitest(args: readonly string[]): Promise<number> {
  const program = join(root, "node_modules/vitest/vitest.mjs");
  const env = values.long ? { ...process.env, LONG: "1" } : process.env;
  const child = spawn(process.execPath, [program, ...args], { cwd: root, stdio: "inherit", env });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (!process.stdin.isTTY || signal === "SIGTERM") child.kill(signal);
    });
  }
  return new Promise((fulfil, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => fulfil(code ?? 1));
  });
}
