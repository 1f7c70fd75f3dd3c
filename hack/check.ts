/** `npm run check`: everything that can be said about the code without running it, side by side. */
import { spawn } from "node:child_process";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");

interface Check {
  name: string;
  command: readonly [string, ...string[]];
  /** What to do when it fails. */
  mend: string;
}

const CHECKS: readonly Check[] = [
  { name: "types", command: ["tsc"], mend: "mend the types" },
  { name: "types of the page", command: ["tsc", "-p", "console"], mend: "mend the types" },
  {
    name: "lint",
    command: ["oxlint", "--type-aware", "--deny-warnings"],
    mend: "mend the code, or turn the rule off in .oxlintrc.json with a reason",
  },
  {
    name: "format",
    command: ["biome", "ci", "--error-on-warnings", "."],
    mend: "run `npx biome check --write .`",
  },
  { name: "unused code", command: ["knip"], mend: "delete what nobody uses" },
  {
    name: "protocol",
    command: ["buf", "lint", "proto"],
    mend: "mend proto/agent.proto",
  },
  {
    name: "architecture",
    command: [
      process.execPath,
      "node_modules/vitest/vitest.mjs",
      "run",
      "--project=pure",
      "test/architecture.test.ts",
    ],
    mend: "turn the arrow round, see docs/design.md section 7",
  },
  {
    name: "generated files",
    command: [process.execPath, "hack/generate.ts", "--check"],
    mend: "run `npm run generate`",
  },
];

const DEADLINE = 10 * 60_000;

const results = await Promise.all(CHECKS.map(run));
const failed = results.filter((result) => !result.ok);
for (const { check, output } of failed) process.stdout.write(`\n--- ${check.name}\n${output.trimEnd()}\n`);
process.stdout.write("\n");
for (const { check, ok, seconds } of results) {
  const verdict = ok ? "ok    " : "FAILED";
  const advice = ok ? "" : `: ${check.mend}`;
  process.stdout.write(`${verdict} ${check.name} (${seconds.toFixed(1)} s)${advice}\n`);
}
process.stdout.write(`${results.length - failed.length} passed, ${failed.length} failed\n`);
process.exitCode = failed.length === 0 ? 0 : 1;

interface Result {
  check: Check;
  ok: boolean;
  output: string;
  seconds: number;
}

function run(check: Check): Promise<Result> {
  const [command, ...args] = check.command;
  const start = performance.now();
  const child = spawn(command, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE,
    env: { ...process.env, NO_COLOR: "1" },
  });
  return new Promise((fulfil) => {
    let output = "";
    const end = (ok: boolean): void => {
      fulfil({ check, ok, output, seconds: (performance.now() - start) / 1000 });
    };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.once("error", (error) => {
      output += `${command} can't be started: ${error.message}; use \`npm run check\`\n`;
      end(false);
    });
    child.once("close", (code, signal) => {
      if (signal !== null) output += `ended by ${signal} after ${DEADLINE / 60_000} minutes at most\n`;
      end(code === 0);
    });
  });
}
