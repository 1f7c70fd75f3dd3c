/** A Prometheus in the box: finds Slipway's Pods by the API server, as the chart's monitors say, and judges by the chart's rules. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import * as z from "zod";
import { render } from "../../hack/chart/golden.ts";
import { Child } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import type { RealCluster } from "../../hack/real/cluster.ts";
import { BOX_ADDRESS } from "../../hack/real/network.ts";
import { tool } from "../../hack/tools.ts";
import { readRuleGroups } from "../watch/queries.ts";
import { type Monitor, scrapeConfigs } from "./scrape.ts";

const ADDRESS = `${BOX_ADDRESS}:9090`;
const EVERY = "3s";
/** Seconds between two points of a query over a time. */
const STEP = 3;
const READY_WITHIN = 60_000;
const ANSWER_WITHIN = 20_000;

const Series = z.object({
  metric: z.record(z.string(), z.string()),
  values: z.array(z.tuple([z.number(), z.string()])),
});
export type Series = z.output<typeof Series>;

const Target = z.object({ scrapePool: z.string(), scrapeUrl: z.string(), health: z.string() });
export type Target = z.output<typeof Target>;

export class Prometheus {
  /** Wall clock, s. */
  readonly startedAt = Date.now() / 1000;
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  /** `waits` are shorter times for alerts to be pending, by name; the others have the chart's. */
  static async start(cluster: RealCluster, waits: Readonly<Record<string, string>>): Promise<Prometheus> {
    const folder = join(cluster.directory, "prometheus");
    mkdirSync(folder);
    const rules = join(folder, "rules.json");
    writeFileSync(rules, JSON.stringify({ groups: rulesWith(waits) }));
    const config = join(folder, "prometheus.json");
    writeFileSync(
      config,
      JSON.stringify({
        global: { scrape_interval: EVERY, scrape_timeout: EVERY, evaluation_interval: EVERY },
        rule_files: [rules],
        scrape_configs: scrapeConfigs(await monitors(), cluster.plane.kubeconfig),
      }),
    );
    const child = await Child.start({
      name: "prometheus",
      command: await tool("prometheus"),
      args: [
        ...[`--config.file=${config}`, `--storage.tsdb.path=${join(folder, "data")}`],
        ...[`--web.listen-address=${ADDRESS}`, "--log.level=warn"],
      ],
      logFile: join(folder, "log"),
      // It asks where it is; the folder of the tests is not in the box.
      cwd: folder,
      env: { PATH: process.env["PATH"] },
    });
    const prometheus = new Prometheus(child);
    await waitUntil(async () => (await fetch(`http://${ADDRESS}/-/ready`)).ok, {
      what: "Prometheus is ready",
      deadline: READY_WITHIN,
      interval: 100,
      hopeless: () => child.obituary(),
    });
    return prometheus;
  }

  /** What it scrapes. */
  async targets(): Promise<Target[]> {
    const data = await this.#get("targets", { state: "active" });
    return z.object({ activeTargets: z.array(Target) }).parse(data).activeTargets;
  }

  /** Series that a query gives at some time since the start. */
  async history(query: string): Promise<Series[]> {
    const [start, end] = [String(this.startedAt), String(Date.now() / 1000)];
    const data = await this.#get("query_range", { query, start, end, step: String(STEP) });
    return z.object({ result: z.array(Series) }).parse(data).result;
  }

  /** Labels of the alerts that fire now. */
  async firing(): Promise<Record<string, string>[]> {
    const Alert = z.object({ state: z.string(), labels: z.record(z.string(), z.string()) });
    const { alerts } = z.object({ alerts: z.array(Alert) }).parse(await this.#get("alerts", {}));
    return alerts.filter(({ state }) => state === "firing").map(({ labels }) => labels);
  }

  async stop(): Promise<void> {
    await this.#child.kill();
  }

  async #get(path: string, query: Record<string, string>): Promise<unknown> {
    const url = `http://${ADDRESS}/api/v1/${path}?${new URLSearchParams(query).toString()}`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_WITHIN) });
    const { status, data, error } = (await answer.json()) as {
      status: string;
      data?: unknown;
      error?: string;
    };
    if (status !== "success")
      throw new Error(`Prometheus refuses ${path} ${JSON.stringify(query)}: ${error}`);
    return data;
  }
}

/** The chart's, as an operator would find them in the cluster. */
async function monitors(): Promise<Monitor[]> {
  const on = ["serviceMonitor", "podMonitor"].flatMap((name) => ["--set", `monitoring.${name}.enabled=true`]);
  return parseAllDocuments(await render(undefined, on))
    .map((document) => document.toJS() as Monitor | null)
    .filter((object) => object !== null)
    .filter(({ kind }) => kind === "ServiceMonitor" || kind === "PodMonitor");
}

function rulesWith(waits: Readonly<Record<string, string>>): object[] {
  const unknown = new Set(Object.keys(waits));
  const groups = readRuleGroups().map(({ name, rules }) => ({
    name,
    rules: rules.map((rule) => {
      const wait = waits[rule.alert ?? ""];
      unknown.delete(rule.alert ?? "");
      return wait === undefined ? rule : { ...rule, for: wait };
    }),
  }));
  if (unknown.size > 0) throw new Error(`the chart has no alert ${[...unknown].join(", ")}`);
  return groups;
}
