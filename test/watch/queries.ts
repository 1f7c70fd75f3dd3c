/** The queries of rules and dashboards, and the metrics that they name. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";

const files = join(import.meta.dirname, "../../charts/slipway/files");

export const RULES_FILE = join(files, "rules.yaml");

const Rule = z.strictObject({
  record: z.string().optional(),
  alert: z.string().optional(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});
const Rules = z.object({ groups: z.array(z.object({ name: z.string(), rules: z.array(Rule) })) });
export type Rule = z.output<typeof Rule>;

export function readRuleGroups(): { name: string; rules: Rule[] }[] {
  return Rules.parse(parse(readFileSync(RULES_FILE, "utf8"))).groups;
}

export function readRules(): Rule[] {
  return readRuleGroups().flatMap(({ rules }) => rules);
}

const Panel = z.object({
  title: z.string(),
  type: z.string(),
  targets: z.array(z.object({ expr: z.string(), legendFormat: z.string() })).default([]),
});
const Dashboard = z.object({
  uid: z.string(),
  title: z.string(),
  panels: z.array(Panel),
  templating: z.object({ list: z.array(z.object({ name: z.string() })) }),
});
type Dashboard = z.output<typeof Dashboard>;

export function readDashboards(): { file: string; dashboard: Dashboard }[] {
  const directory = join(files, "dashboards");
  return readdirSync(directory).map((file) => ({
    file,
    dashboard: Dashboard.parse(JSON.parse(readFileSync(join(directory, file), "utf8"))),
  }));
}

/** The queries of all dashboards, each with where it is. */
export function dashboardQueries(): { where: string; expr: string }[] {
  return readDashboards().flatMap(({ file, dashboard }) =>
    dashboard.panels.flatMap(({ title, targets }) =>
      targets.map(({ expr }) => ({ where: `${file}: ${title}`, expr })),
    ),
  );
}

/** A dashboard's query as Prometheus gets it. */
export function expand(expr: string, groups = "pool|harbor"): string {
  return expr.replaceAll("$__rate_interval", "5m").replaceAll("$group", groups);
}

const OPERATORS = new Set(["and", "or", "unless", "bool", "offset", "inf", "nan"]);

/** Names of metrics and recorded series in a query. */
export function namesIn(query: string): Set<string> {
  const bare = query
    .replaceAll(/"(?:\\.|[^"\\])*"/g, "")
    .replaceAll(/\{[^}]*\}/g, "")
    .replaceAll(/\[[^\]]*\]/g, "")
    .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, " ");
  const words = bare.matchAll(/(?<![\w.:])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])/g);
  return new Set([...words].map(([word]) => word).filter((word) => !OPERATORS.has(word)));
}
