/** What Slipway stands on does not fit: CRDs of another version, an etcd that can't be reached. */
import { expect } from "vitest";
import { crd } from "../../../api/crd.ts";
import type { Kind } from "../../../api/kind.ts";
import { nodeUpdate } from "../../../api/node-update.ts";
import { updateGroup } from "../../../api/update-group.ts";
import { examine } from "../../../cli/doctor/checks.ts";
import { readFacts } from "../../../cli/doctor/facts.ts";
import { Service } from "../../../hack/cluster/service.ts";
import { Authority } from "../../../hack/plane/pki.ts";
import { freePorts } from "../../../hack/plane/ports.ts";
import { systemClock } from "../../../ports/clock.ts";
import { systemRandom } from "../../../ports/random.ts";
import { loadKubeConfig } from "../../../runtime/kubeconfig.ts";
import { createRestClient } from "../../../runtime/rest-client.ts";
import type { Berth } from "../berth.ts";
import { logOf } from "../control/leader.ts";
import type { Day } from "../day.ts";

interface Schema {
  type?: string;
  properties?: Record<string, Schema>;
}

/** In the middle of a drain the CRDs become older than the manager, then right again, then newer. */
export async function crdsOfAnotherVersion(day: Day, berth: Berth, version: string): Promise<void> {
  const [node = ""] = berth.nodes;
  const [manager] = day.cluster.managers;
  if (manager === undefined) throw new Error("the cluster has no manager");
  const lacks = "nodeupdates.slipway.dev is older than this manager, for it lacks status.grant.nonce";
  await startDrain(berth, node, version);
  const boots = day.boots(node);
  const ends = manager.restarts;
  await applyCrd(day, nodeUpdate, (root) => {
    delete at(root, "status", "grant").properties?.["nonce"];
  });
  await day.waitFor("the manager stops leading, and says why it does not lead again", async () => {
    return manager.restarts > ends && (await readyz(manager)).text.includes(lacks);
  });
  expect((await readyz(manager)).status).toBe(503);
  expect(logOf([manager])).toMatch(new RegExp(`a loop failed, the manager stops.*${lacks}`));
  expect(await doctor(day)).toContain(
    "fail crds: nodeupdates.slipway.dev is older than this build: it lacks status.grant.nonce",
  );
  await berth.unblock(node);
  await day.waitFor("it tries to lead, and does not", () => {
    return new RegExp(`can't acquire the Lease.*${lacks}`).test(logOf([manager]));
  });
  expect(await day.holders(`group/${berth.name}`)).toHaveLength(1);
  expect(day.boots(node)).toBe(boots);
  await day.cluster.plane.applyCrds();
  await berth.done(version);

  await applyCrd(day, updateGroup, (root) => {
    Object.assign(at(root, "spec").properties ?? {}, { pier: { type: "string" } });
  });
  await applyCrd(day, nodeUpdate, (root) => {
    for (const part of ["spec", "status"]) {
      Object.assign(at(root, part).properties ?? {}, { tide: { type: "string" } });
    }
  });
  const patch = (part: string): string[] => [
    ...["patch", "nodeupdate", node, "--type=merge", "-p", JSON.stringify({ [part]: { tide: "low" } })],
    ...(part === "status" ? ["--subresource=status"] : []),
  ];
  await day.waitFor("the API server takes the new fields", async () => {
    await berth.patch({ pier: "7" });
    for (const part of ["spec", "status"]) await berth.kubectl(...patch(part));
    return JSON.stringify(await berth.group()).includes('"pier":"7"') && (await tides(day, node)) === 2;
  });
  await berth.publish(`${version}.9`);
  await berth.done(`${version}.9`);
  expect(await berth.group()).toMatchObject({ spec: { pier: "7" } });
  expect(await tides(day, node), "fields that the manager does not know").toBe(2);
  await day.cluster.plane.applyCrds();
}

/** In the middle of a drain neither manager nor gateway reaches etcd, each for a reason of its own; then both do. */
export async function etcdOutOfReach(day: Day, berth: Berth, version: string): Promise<void> {
  const [node = ""] = berth.nodes;
  const { cluster } = day;
  const [manager, gateway, member] = [cluster.managers[0], cluster.gateways[0], cluster.etcd.members[0]];
  const good = cluster.etcd.tls;
  if (manager === undefined || gateway === undefined || member === undefined || good === undefined) {
    throw new Error("the cluster has no manager, no gateway, or no etcd with TLS");
  }
  await startDrain(berth, node, version);
  const boots = cluster.machines.map(({ name }) => day.boots(name));
  const other = await Authority.create("somebody else");
  cluster.writeEtcdFiles("manager", { ...good, ca: other.certificate });
  const ended = await cluster.etcd.issue({ commonName: "slipway", expired: true });
  cluster.writeEtcdFiles("gateway", { ...good, ...ended });
  // Connections that stand outlive a certificate, and so does what a client was made with, until a call fails.
  const unanswered = await Promise.all([manager, gateway].map(failures));
  await member.kill();
  await day.waitFor("both found etcd gone", async () => {
    const now = await Promise.all([manager, gateway].map(failures));
    return now.every((count, index) => count > (unanswered[index] ?? 0));
  });
  await member.start();
  const lost = await misdirected(day);
  try {
    await day.waitFor("a manager that was sent to the wrong place says so", async () => {
      const { status, text } = await readyz(lost);
      return status === 503 && /\[-\] etcd: .*https:\/\/localhost:\d+: nobody listens there/.test(text);
    });
    await day.waitFor("the leader says what is wrong, and is not Ready", async () => {
      const { status, text } = await readyz(manager);
      return status === 503 && /\[-\] etcd: .* authority that --etcd-ca names/.test(text);
    });
    await day.waitFor("the gateway says what is wrong, and serves", async () => {
      const { status, text } = await readyz(gateway);
      return status === 200 && /\[!\] etcd: .*our client certificate/.test(text);
    });
  } finally {
    await lost.kill();
  }
  await day.waitFor("an event and doctor say it too", async () => {
    const lines = await doctor(day);
    return lines.some((line) => /^warn etcd: manager manager-0 said at .*--etcd-ca names/.test(line));
  });
  expect(logOf([lost])).not.toContain("became the leader");
  expect(cluster.machines.map(({ name }) => day.boots(name))).toEqual(boots);
  for (const { name } of cluster.machines) expect(day.isDown(name), name).toBe(false);
  for (const role of ["manager", "gateway"] as const) cluster.writeEtcdFiles(role);
  await manager.ready();
  await berth.unblock(node);
  await berth.done(version);
  for (const service of [manager, gateway]) expect(logOf([service])).toContain("etcd answers again");
}

/** Until the node holds a slot and its drain waits. */
async function startDrain(berth: Berth, node: string, version: string): Promise<void> {
  await berth.block(node);
  await berth.declare({ drain: { timeout: "30m" } });
  await berth.publish(version);
  await berth.until(node, "drains", ({ status }) => {
    return status?.step === "Draining" && status.reason === "BlockedByDisruptionBudget";
  });
}

/** Applies the kind's CRD with a change. */
async function applyCrd(day: Day, kind: Kind, change: (root: Schema) => void): Promise<void> {
  const made = structuredClone(crd(kind)) as {
    spec: { versions: { schema: { openAPIV3Schema: Schema } }[] };
  };
  for (const version of made.spec.versions) change(version.schema.openAPIV3Schema);
  const args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
  await day.cluster.plane.kubectl(args, JSON.stringify(made));
}

function at(root: Schema, ...path: string[]): Schema {
  let found: Schema | undefined = root;
  for (const name of path) found = found?.properties?.[name];
  if (found === undefined) throw new Error(`the schema has no ${path.join(".")}`);
  return found;
}

/** How often the NodeUpdate has the field that no build knows. */
async function tides(day: Day, node: string): Promise<number> {
  return JSON.stringify(await day.nodeUpdate(node)).split('"tide":"low"').length - 1;
}

/** Calls of etcd that were not answered. */
async function failures(service: Service): Promise<number> {
  const counts = /^slipway_etcd_request_duration_seconds_count\{.*outcome="unavailable".*\} (\d+)$/gm;
  return (await service.metricsText()).matchAll(counts).reduce((sum, [, count]) => sum + Number(count), 0);
}

async function readyz({ metrics }: Service): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://${metrics}/readyz`);
  return { status: response.status, text: await response.text() };
}

/** What `kubectl slipway doctor` finds, but what is well. */
async function doctor({ cluster }: Day): Promise<string[]> {
  const ports = { clock: systemClock, random: systemRandom };
  const client = createRestClient(loadKubeConfig(cluster.plane.kubeconfig), ports);
  try {
    return examine(await readFacts(client, "slipway-system"), Date.now()).map(
      ({ level, check, found }) => `${level} ${check}: ${found}`,
    );
  } finally {
    await client.close();
  }
}

/** A manager whose `--etcd` names a port on which nobody listens. */
async function misdirected({ cluster }: Day): Promise<Service> {
  const [nobody, metrics] = await freePorts(2);
  cluster.writeEtcdFiles("person");
  const { ca, certificate, key } = cluster.etcdFiles("person");
  const kubeconfig = await cluster.plane.kubeconfigFor({ name: "slipway-manager", groups: [] });
  const service = new Service("manager-lost", cluster.directory, `127.0.0.1:${metrics}`, [
    ...["manager", "--kubeconfig", kubeconfig, "--etcd", `https://localhost:${nobody}`],
    ...["--etcd-ca", ca, "--etcd-cert", certificate, "--etcd-key", key],
    ...["--metrics", `127.0.0.1:${metrics}`, "--leader-elect-namespace", "slipway-system"],
  ]);
  await service.start();
  return service;
}
