/** `slipway manager`: the flags, and the process's own implementations of the ports. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import * as prom from "prom-client";
import * as z from "zod";
import { MANAGER_LEASE } from "../api/labels.ts";
import { addEtcdFlags, EtcdFlags, openEtcd } from "../coordination/etcd-flags.ts";
import { EtcdHealth } from "../coordination/etcd-health.ts";
import { meterEtcd } from "../coordination/etcd-metrics.ts";
import { observeCertificates } from "../pki/certificate-expiry.ts";
import { parseAddress } from "../ports/address.ts";
import { systemClock } from "../ports/clock.ts";
import { jsonLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { startHealth } from "../runtime/health.ts";
import { loadKubeConfig } from "../runtime/kubeconfig.ts";
import type { Manager } from "../runtime/manager.ts";
import { createMetrics, observeProcess } from "../runtime/metrics.ts";
import { createRestClient } from "../runtime/rest-client.ts";
import { CrdWatch } from "./crds/watch.ts";
import { createFleetManager } from "./manager.ts";
import type { WebhookKeys } from "./notify/signature.ts";
import { RivalWatch } from "./rivals/watch.ts";

/** Calls of the API server per second, and at once after a quiet time: a fleet's statuses are written one by one. */
const API_RATE = 100;
const API_BURST = 300;

const Flags = EtcdFlags.and(
  z.object({
    kubeconfig: z.string().optional(),
    metrics: z.string().transform(parseAddress).optional(),
    leaderElectNamespace: z.string().min(1),
    webhookKeys: z.string().optional(),
    upstreamUrls: z.string().optional(),
    identity: z.string().min(1),
  }),
);
type Flags = z.output<typeof Flags>;

export function managerCommand(): Command {
  const command = new Command("manager")
    .description("Decides what each node runs and when it reboots.")
    .option("--kubeconfig <file>", "kubeconfig (default: the Pod's own service account)")
    .option("--metrics <address>", "[HOST]:PORT for /metrics, /healthz and /readyz")
    .option("--leader-elect-namespace <name>", "namespace of the leader's Lease", "default")
    .option(
      "--webhook-keys <dir>",
      "directory with a file for each key that notices of groups are signed with",
    )
    .option("--upstream-urls <dir>", "directory with a file for each URL that a Channel names by urlKey")
    .addOption(
      new Option("--identity <name>", "unique name of this process").default(
        `${hostname()}_${systemRandom.uuid()}`,
        "host name and a random id",
      ),
    );
  return addEtcdFlags(command).action(async (options: unknown) => {
    const flags = Flags.safeParse(options);
    if (!flags.success) throw new Error(flags.error.issues.map(({ message }) => message).join("; "));
    await run(flags.data);
  });
}

async function run(flags: Flags): Promise<void> {
  const [clock, random] = [systemClock, systemRandom];
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "manager" });
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
  const metrics = createMetrics();
  const unobserve = observeProcess(metrics.registry, { role: "manager", version: "0.1.0" });
  const client = createRestClient(loadKubeConfig(flags.kubeconfig, { clock, log }), {
    clock,
    random,
    rate: API_RATE,
    burst: API_BURST,
    userAgent: "slipway-manager",
    onAnswer: (method, status) => metrics.apiAnswered(method, status),
  });
  const { etcd, observe } = meterEtcd(openEtcd(flags, { clock, random }));
  observe(metrics.registry);
  const { etcdCert } = flags;
  if (etcdCert !== undefined)
    observeCertificates(prom, metrics.registry, () => [["etcd-client", readFileSync(etcdCert, "utf8")]]);
  const crds = new CrdWatch({ client, clock, log: log.with({ part: "crds" }) });
  const etcdHealth = new EtcdHealth({
    etcd,
    clock,
    log,
    onAway: (message) => tellAway(manager, flags, message),
  });
  const manager = createFleetManager({
    client,
    watches: client.watches,
    etcd,
    clock,
    random,
    log,
    metrics,
    namespace: flags.leaderElectNamespace,
    identity: flags.identity,
    crds,
    rivals: new RivalWatch({ client, clock, log: log.with({ part: "rivals" }) }),
    ...(flags.webhookKeys === undefined ? {} : { webhookKeys: textsIn(flags.webhookKeys) }),
    ...(flags.upstreamUrls === undefined ? {} : { upstreamUrls: textsIn(flags.upstreamUrls) }),
  });
  manager.ready.set("etcd", () => etcdHealth.wrong);
  void crds.run(stop.signal);
  void etcdHealth.run(stop.signal);
  const { live, ready } = manager;
  const { registry } = metrics;
  const health =
    flags.metrics === undefined
      ? undefined
      : await startHealth({ ...flags.metrics, live, ready, registry, beforeScrape: () => manager.report() });
  try {
    await manager.start(stop.signal);
  } finally {
    // Also where leadership was lost: nothing may keep the process, which starts anew.
    stop.abort();
    await health?.close();
    await etcd.close();
    await client.close();
    unobserve();
  }
}

/** An event of the leader's Lease: who waits for a rollout finds it there without the logs. */
function tellAway(manager: Manager, { leaderElectNamespace: namespace }: Flags, message: string): void {
  const metadata = { name: MANAGER_LEASE, namespace };
  const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata };
  manager.events.record(lease, { reason: "EtcdUnavailable", message }, "Wait");
}

/** The schema lets names be file names only, without a path. */
function textsIn(directory: string): WebhookKeys {
  return async (name) => {
    try {
      return (await readFile(join(directory, name), "utf8")).trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  };
}
