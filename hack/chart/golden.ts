/** The renders of the chart that are checked in, so that a change of a template shows what it changes. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";
import { tool } from "../tools.ts";

const ROOT = resolve(import.meta.dirname, "../..");
export const CHART = join(ROOT, "charts/slipway");
/** The chart as it first was, with the CRDs of then: what an upgrade begins with. */
export const FIRST_CHART = join(ROOT, "test/charts/slipway-0.1.0.tgz");
export const NAMESPACE = "slipway-system";
const DEADLINE = 60_000;

/** A name, and the file with its values; none are the defaults. */
export interface GoldenCase {
  name: string;
  values: string | undefined;
}

export const GOLDEN_CASES: readonly GoldenCase[] = [
  { name: "defaults", values: undefined },
  ...["docs/values", "test/chart/values"].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).map((file) => ({
      name: basename(file, ".yaml"),
      values: join(ROOT, folder, file),
    })),
  ),
];

/** Where they lie. */
export const GOLDEN = "test/chart/golden";

export function goldenPath({ name }: GoldenCase): string {
  return `${GOLDEN}/${name}.yaml`;
}

/** Standard output of helm. Rejects with its standard error in the message. `env` adds to the environment. */
export async function helm(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const run = promisify(execFile);
  const options = { timeout: DEADLINE, maxBuffer: 64 << 20, env: { ...process.env, ...env } };
  const { stdout } = await run(await tool("helm"), args, options);
  return stdout;
}

/** `helm template` of the release "slipway" in `NAMESPACE`. */
export function render(
  values: string | undefined,
  more: readonly string[] = [],
  chart = CHART,
): Promise<string> {
  const file = values === undefined ? [] : ["--values", values];
  return helm(["template", "slipway", chart, "--namespace", NAMESPACE, ...file, ...more]);
}

/** Without what comes from other files as it is: CRDs, rules and dashboards. */
export async function renderGolden({ values }: GoldenCase): Promise<string> {
  const off = ["crds.install", "monitoring.prometheusRule.enabled", "monitoring.dashboards.enabled"];
  return render(
    values,
    off.flatMap((name) => ["--set", `${name}=false`]),
  );
}
