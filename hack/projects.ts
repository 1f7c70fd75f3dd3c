/** Runs projects of vitest.config.ts and says what they come to. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Report, type Summary, summarize } from "./summary.ts";

export const VITEST = resolve(import.meta.dirname, "../node_modules/vitest/vitest.mjs");

/**
 * `filters` choose files; `vitest` runs VITEST with these arguments and gives its exit code. The reporter `verbose`
 * says how long each test took.
 */
export async function runProjects(
  projects: readonly string[],
  filters: readonly string[],
  vitest: (args: readonly string[]) => Promise<number>,
  reporter: "dot" | "verbose" = "dot",
): Promise<Summary> {
  const directory = mkdtempSync(join(tmpdir(), "slipway-test-"));
  const report = join(directory, "report.json");
  const args = ["run", `--reporter=${reporter}`, "--reporter=json", `--outputFile.json=${report}`];
  // A filter may leave a project without files.
  if (filters.length > 0) args.push("--passWithNoTests");
  try {
    const code = await vitest([...args, ...projects.map((name) => `--project=${name}`), ...filters]);
    const parsed = JSON.parse(readFileSync(report, "utf8")) as Report;
    return summarize(parsed, {
      exitCode: code,
      skippedIsFailed: process.env["CI"] === "true",
      mayBeEmpty: filters.length > 0,
    });
  } catch (error) {
    return { passed: 0, failed: 1, lines: [`vitest left no report: ${String(error)}`] };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
