/** What a Prometheus sees of an installation: a part of the story in installation.e2e.test.ts. */
import { expect, test } from "vitest";
import { waitUntil } from "../../hack/plane/wait.ts";
import { dashboardQueries, expand, namesIn } from "../watch/queries.ts";
import { GROUP } from "./examples.ts";
import { allRun, type Fleet, say } from "./fleet.ts";
import type { Prometheus, Series } from "./prometheus.ts";

const ALERT = "SlipwayNodeSuspect";
/** The chart's rule waits a minute; the test has not got it. Nothing else of the rules differs. */
export const WAITS = { [ALERT]: "5s" };
const WITHIN = 60_000;
const LOST = "node-2";

/** Metrics of which there need not be any series, and why. */
const MAY_BE_ABSENT: Readonly<Record<string, string>> = {
  slipway_notifications_total: "no group has a webhook",
  slipway_gateway_certificates_total: "no machine outside of the cluster joins",
  slipway_gateway_etcd_unavailable_total: "etcd need not be away",
  slipway_gateway_turned_away_total: "no stranger asks",
  slipway_gateway_machines: "no machine without our agent asks",
  slipway_gateway_omaha_apps_total: "no machine without our agent asks",
  slipway_gateway_slot_requests_total: "no machine without our agent asks",
  slipway_gateway_request_seconds_count: "no machine without our agent asks",
  slipway_gateway_request_seconds_bucket: "no machine without our agent asks",
  slipway_gateway_coreupdate_requests_total: "nobody asks CoreUpdate's API",
  slipway_gateway_payload_failures_total: "no payloads are served",
  slipway_gateway_registry_fullness_ratio: "there is no key space",
};

/** Manager, gateway, agent and etcd: how many of each are scraped. */
const TARGETS = { manager: 2, gateway: 2, agent: 3, etcd: 3 };

export async function expectAllScraped(prometheus: Prometheus): Promise<void> {
  const counts = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const { scrapePool, health } of await prometheus.targets()) {
      const component = scrapePool.split("/")[2]?.replace("slipway-", "") ?? "";
      if (health === "up") found[component] = (found[component] ?? 0) + 1;
    }
    return found;
  };
  await waitUntil(
    async () => {
      const found = await counts();
      return Object.entries(TARGETS).every(([component, count]) => found[component] === count);
    },
    { what: `Prometheus scrapes ${JSON.stringify(TARGETS)}`, deadline: WITHIN, interval: 1_000 },
  );
}

export function watching(fleet: () => Fleet, prometheus: () => Prometheus): void {
  const untilAlert = async (fires: boolean): Promise<void> => {
    await waitUntil(
      async () => {
        const alerts = await prometheus().firing();
        return alerts.some(({ alertname, group }) => alertname === ALERT && group === GROUP) === fires;
      },
      { what: `${ALERT} ${fires ? "fires" : "ends"}`, deadline: WITHIN, interval: 1_000 },
    );
  };

  test("a machine that does not come back from its reboot is Suspect, and the alert fires until it is back; the chart is rolled back meanwhile", async () => {
    const { cluster, slipway } = fleet();
    const nodeSelector = { matchLabels: { "kubernetes.io/hostname": LOST } };
    await fleet().patchGroup({
      stages: [{ name: "canary", soak: "5s", nodeSelector }],
      // Twice the sum of both is what a reboot and a fallback may take before a machine is Suspect.
      health: { bootDeadline: "30s", rebootTime: "10s" },
    });
    const machine = cluster.machine(LOST);
    await machine.trap("reboot", "power-off");
    await fleet().promote("1.4.0");
    await fleet().timed("suspect", () =>
      fleet().follow(`${LOST} is Suspect`, (nodes) =>
        nodes.some(({ metadata, status }) => metadata.name === LOST && status?.step === "Suspect"),
      ),
    );
    expect(await fleet().why(LOST)).toContain(`${LOST} is Suspect since `);
    await fleet().timed("alert", () => untilAlert(true));
    await machine.powerOn();
    await Promise.all([
      fleet().timed("rollback", () => slipway.rollback(1)),
      fleet().follow("all nodes run 1.4.0", (nodes) => allRun(nodes, "1.4.0")),
    ]);
    expect(await slipway.chart()).toBe("slipway-0.1.0");
    await untilAlert(false);
    await fleet().expectNodesFree();
    fleet().expectNoFailure();
  });

  test("every query of the dashboards had data, and no other critical alert ever fired", async () => {
    const without: string[] = [];
    for (const { where, expr } of dashboardQueries()) {
      const query = expand(expr, GROUP);
      if (hasData(await prometheus().history(query))) continue;
      const excused = [...namesIn(query)].map((name) => MAY_BE_ABSENT[name]).find((why) => why !== undefined);
      if (excused === undefined) without.push(`${where}: ${query}`);
      else say(`${where} has no data: ${excused}`);
    }
    for (const each of without) say(`no data: ${each}`);
    expect(without).toEqual([]);
    const critical = await prometheus().history('ALERTS{alertstate="firing",severity="critical"}');
    expect([...new Set(critical.map(({ metric }) => metric["alertname"]))]).toEqual([ALERT]);
    const alerts = await prometheus().history('ALERTS{alertstate="firing"}');
    say(`alerts that fired: ${[...new Set(alerts.map(({ metric }) => metric["alertname"]))].join(", ")}`);
  });
}

/** Whether there ever was a number. */
function hasData(series: readonly Series[]): boolean {
  return series.some(({ values }) => values.some(([, value]) => Number.isFinite(Number(value))));
}
