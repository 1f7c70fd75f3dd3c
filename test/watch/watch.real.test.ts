/** Metrics, rules, dashboards and runbooks: that they are sound by Prometheus's own tool, and that they fit together. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { exposition, seriesNames } from "./exposed.ts";
import { promtool } from "./promtool.ts";
import { dashboardQueries, expand, namesIn, RULES_FILE, readDashboards, readRules } from "./queries.ts";

const root = join(import.meta.dirname, "../..");
const rules = readRules();
const alerts = rules.filter(({ alert }) => alert !== undefined);
const recorded = new Set(rules.flatMap(({ record }) => record ?? []));
const dashboards = readDashboards();
const queries = dashboardQueries();

let etcd: EtcdPort;
let directory: string;
let exposed: Awaited<ReturnType<typeof exposition>>;
/** Series that exist: of our processes, and recorded. */
let known: Set<string>;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "slipway-watch-"));
  etcd = connectEtcd({ endpoints: [inject("etcd")], clock: systemClock, random: systemRandom });
  exposed = await exposition(etcd);
  known = new Set([...Object.values(exposed).flatMap((text) => [...seriesNames(text)]), ...recorded]);
});

afterAll(async () => {
  await etcd.close();
  rmSync(directory, { recursive: true, force: true });
});

test.each(["manager", "gateway", "agent"] as const)(
  "names and help of the %s's metrics are sound",
  async (role) => {
    expect(await promtool(["check", "metrics"], exposed[role])).toEqual({ ok: true, output: "" });
  },
);

describe("rules", () => {
  test("are sound", async () => {
    const { ok, output } = await promtool(["check", "rules", "--lint=all", "--lint-fatal", RULES_FILE]);
    expect(output).toContain(`SUCCESS: ${rules.length} rules found`);
    expect(ok).toBe(true);
  });

  test("alert as their tests say", async () => {
    const files = readdirSync(import.meta.dirname).filter((file) => file.endsWith(".test.yaml"));
    const paths = files.map((file) => join(import.meta.dirname, file));
    const { ok, output } = await promtool(["test", "rules", ...paths]);
    expect(ok, output).toBe(true);
    const tested = paths.map((path) => readFileSync(path, "utf8")).join("\n");
    const untested = alerts.filter(({ alert }) => !tested.includes(`alertname: ${alert}\n`));
    expect(untested.map(({ alert }) => alert)).toEqual([]);
  });

  test("name only what exists", () => {
    for (const { alert, record, expr } of rules) {
      const unknown = [...namesIn(expr)].filter((name) => !known.has(name));
      expect(unknown, alert ?? record).toEqual([]);
    }
  });

  test("say how bad it is, what it is, and where the commands are", () => {
    for (const { alert, labels, annotations } of alerts) {
      expect(labels["severity"], alert).toMatch(/^(critical|warning)$/);
      expect(Object.keys(annotations).toSorted(), alert).toEqual(["description", "runbook_url", "summary"]);
      expect(annotations["runbook_url"], alert).toMatch(new RegExp(`/docs/runbooks/${alert}\\.md$`));
    }
    const books = readdirSync(join(root, "docs/runbooks")).map((file) => file.replace(/\.md$/, ""));
    expect(books.toSorted()).toEqual(alerts.map(({ alert = "" }) => alert).toSorted());
  });
});

describe("dashboards", () => {
  test("have queries that Prometheus can parse", async () => {
    const file = join(directory, "queries.yaml");
    const asRules = queries.map(({ expr }, index) => ({ record: `query:${index}`, expr: expand(expr) }));
    writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboards", rules: asRules }] }));
    const { ok, output } = await promtool(["check", "rules", file]);
    expect(output).toContain(`SUCCESS: ${queries.length} rules found`);
    expect(ok).toBe(true);
  });

  test("name only what exists, and no recorded series, so that they work without the rules", () => {
    for (const { where, expr } of queries) {
      const names = [...namesIn(expand(expr))];
      expect(
        names.filter((name) => !known.has(name) || recorded.has(name)),
        where,
      ).toEqual([]);
      expect(names.length, where).toBeGreaterThan(0);
    }
  });

  test("use only variables that they declare", () => {
    for (const { file, dashboard } of dashboards) {
      const declared = dashboard.templating.list.map(({ name }) => name);
      const used = JSON.stringify(dashboard.panels).match(/\$\{?(\w+)/g) ?? [];
      const names = new Set(used.map((name) => name.replace(/^\$\{?/, "")));
      names.delete("__rate_interval");
      expect(
        [...names].filter((name) => !declared.includes(name)),
        file,
      ).toEqual([]);
    }
  });
});

test("every metric of ours is in a dashboard or a rule, or is one that other tools look for", () => {
  const asked = new Set(
    [...queries.map(({ expr }) => expr), ...rules.map(({ expr }) => expr)].flatMap((expr) => [
      ...namesIn(expr),
    ]),
  );
  const ours = [...known].filter(
    (name) => name.startsWith("slipway_") && !/_(?:sum|count|bucket)$/.test(name),
  );
  expect(ours.filter((name) => !asked.has(name)).toSorted()).toEqual([
    // For a look at one machine.
    "slipway_agent_connected",
    "slipway_agent_progress_ratio",
    "slipway_agent_reboot_required",
    "slipway_agent_step",
    // Sizes, for a look at one process.
    "slipway_cached_objects",
    "slipway_events_dropped_total",
    "slipway_gateway_connections",
    // For a look at clients that say what no other does.
    "slipway_gateway_omaha_unknown_total",
    // The length of the alert about Suspects.
    "slipway_oldest_suspect_seconds",
  ]);
});

test("names are found in a query", () => {
  expect(
    namesIn(
      'sum by (group) (rate(a_total{x="b_c"}[5m])) > on (e) group_left (f) g:h:sum unless vector(0) and i',
    ),
  ).toEqual(new Set(["a_total", "g:h:sum", "i"]));
});
