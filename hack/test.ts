/**
 * `npm test`: the pure tests, and the real ones on a control plane that is built when it is missing.
 * Options: --long (minutes instead of seconds), --pure (only those that need no tools), then file filters.
 * The last line is `N passed, N failed`. With CI=true a skipped test is a failed one.
 */
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { chromiumProgram } from "./browser/chromium.ts";
import { runProjects, VITEST } from "./projects.ts";
import { ToolError } from "./tools/cache.ts";
import { PLANE_TOOLS, type Tool, tools } from "./tools.ts";

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
  // Built within a test, each would take the test's time.
  const made =
    (...names: Tool[]) =>
    async () =>
      await tools(names);
  const wanted: (readonly [() => Promise<unknown>, string])[] = [
    [made("sgdisk", "cgpt"), "disks"],
    [made("etcd-3.4", "etcdctl-3.4"), "etcd's v2 API"],
    [made("docker-registry"), "payloads in a registry"],
    [made("promtool"), "metrics and rules"],
    [made("helm"), "the chart"],
    [chromiumProgram, "the console's page"],
    ...(values.long ? [[made("kube-apiserver-1.36"), "another API server"] as const] : []),
  ];
  for (const [make, of] of wanted) {
    try {
      await make();
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      process.stderr.write(`slipway: the tests of ${of} will fail: ${error.message}\n`);
    }
  }
}

/** The bad days have the machine for themselves: what else ran would take their time. */
async function runTests(): Promise<number> {
  const runs = values.pure ? [["pure"]] : [["pure", "real"], ["days"]];
  const lines: string[] = [];
  let [passed, failed] = [0, 0];
  for (const projects of runs) {
    const summary = await runProjects(projects, positionals, vitest);
    lines.push(...summary.lines);
    passed += summary.passed;
    failed += summary.failed;
  }
  if (passed + failed === 0) {
    process.stdout.write(`no test matches ${positionals.join(" ")}\n`);
    failed++;
  }
  for (const line of lines) process.stdout.write(`${line}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

function vitest(args: readonly string[]): Promise<number> {
  const env = values.long ? { ...process.env, LONG: "1" } : process.env;
  const child = spawn(process.execPath, [VITEST, ...args], { cwd: root, stdio: "inherit", env });
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
