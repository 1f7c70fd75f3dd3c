/**
 * Days on which Slipway's memory fails: etcd is empty, or of an hour ago, nobody can be asked,
 * or only half of a slot was written down (design, rules 9 and 10).
 */
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Release } from "../../../api/release.ts";
import type { EtcdPort } from "../../../coordination/etcd.ts";
import { connectEtcd } from "../../../coordination/etcd3-port.ts";
import type { EtcdCluster } from "../../../hack/plane/etcd.ts";
import { systemClock } from "../../../ports/clock.ts";
import { systemRandom } from "../../../ports/random.ts";
import { type Day, days } from "../day.ts";
import { killWhileGranting } from "./granting.ts";
import { leaderLease, logOf } from "./leader.ts";

const day = days();

/** Waits until a machine is down on its way to `version`, and gives its name. */
async function rebooting(today: Day, version: string): Promise<string> {
  let found: string | undefined;
  await today.waitFor(`a machine reboots on its way to ${version}`, async () => {
    const held = (await today.nodeUpdates()).filter(({ status }) => status?.grant?.phase === "Committed");
    found = held.map(({ metadata }) => metadata.name).find((name) => today.isDown(name));
    return found !== undefined;
  });
  return found ?? "";
}

async function using<T>({ endpoints }: EtcdCluster, work: (port: EtcdPort) => Promise<T>): Promise<T> {
  const port = connectEtcd({ endpoints, clock: systemClock, random: systemRandom });
  try {
    return await work(port);
  } finally {
    await port.close();
  }
}

test("etcd loses all of its data in the middle of a rollout", async () => {
  const today = day();
  const { etcd, plane } = today.cluster;
  await today.declare();
  await today.publish("1.1.0");
  const down = await rebooting(today, "1.1.0");
  await today.cluster.machine(down).powerOff();
  const before = await leaderLease(plane);
  await etcd.replaceData();
  await today.waitFor("a leader knows another incarnation", async () => {
    const { incarnation } = await leaderLease(plane);
    return incarnation !== undefined && incarnation !== before.incarnation;
  });
  expect(await today.etcdKeys("grants/")).not.toEqual([]);
  await today.waitUntilBooted("1.1.0", 2);
  expect((await today.nodeUpdate(down))?.status?.grant).toBeDefined();
  await today.cluster.machine(down).powerOn();
  await today.waitUntilDone("1.1.0");
  expect(logOf(today.cluster.managers)).toContain("etcd has lost its data");
  await today.rest();
});

test("etcd comes back from an old snapshot in the middle of a rollout", async () => {
  const today = day();
  const { etcd, plane, directory } = today.cluster;
  const backup = join(directory, "backup.db");
  await etcd.snapshot(backup);
  await today.declare();
  await today.publish("1.2.0");
  await today.waitUntilBooted("1.2.0", 2);
  const down = await rebooting(today, "1.2.0");
  const before = await leaderLease(plane);
  await etcd.replaceData(backup);
  await today.waitFor("a leader knows another incarnation", async () => {
    const { incarnation } = await leaderLease(plane);
    return incarnation !== undefined && incarnation !== before.incarnation;
  });
  await today.waitUntilDone("1.2.0");
  expect(today.booted("1.2.0")).toContain(down);
  expect(logOf(today.cluster.managers)).toContain("an old snapshot was restored");
  await today.rest();
});

test("an old snapshot is written past what it lost before any manager looks", async () => {
  const today = day();
  const { cluster } = today;
  const backup = join(cluster.directory, "another.db");
  await cluster.etcd.snapshot(backup);
  await today.declare();
  await today.publish("1.3.0");
  const down = await rebooting(today, "1.3.0");
  await cluster.machine(down).powerOff();
  await today.waitFor("a leader remembers the slot's time", async () => {
    const { grant } = (await today.nodeUpdate(down))?.status ?? {};
    return (await leaderLease(cluster.plane)).pulse > (grant?.revision ?? Number.POSITIVE_INFINITY);
  });
  await Promise.all([...cluster.managers, ...cluster.gateways].map((service) => service.kill()));
  const { revision } = await using(cluster.etcd, (port) => port.read([]));
  await cluster.etcd.replaceData(backup);
  await using(cluster.etcd, async (port) => {
    while ((await port.read([])).revision <= revision) await port.txn([], [{ put: "/tide", value: "in" }]);
  });
  for (const service of [...cluster.gateways, ...cluster.managers]) await service.start();
  await today.waitFor("the slot is held again", async () => {
    const { spec, status } = (await today.nodeUpdate(down)) ?? {};
    const grants = await today.etcdKeys("grants/");
    return status?.grant !== undefined && grants.some((key) => key.endsWith(spec?.nodeUID ?? "-"));
  });
  expect(logOf(cluster.managers)).toContain("restored, and written to since");
  await cluster.machine(down).powerOn();
  await today.waitUntilDone("1.3.0");
  await today.rest();
});

test("machines boot while the API server and etcd are away for longer than every deadline", async () => {
  const today = day();
  const { etcd, plane } = today.cluster;
  const names = today.cluster.machines.map(({ name }) => name);
  const health = { bootDeadline: "10s", rebootTime: "10s", releaseDeadline: "10s" };
  // Twice a reboot and a failed boot until it is Suspect, then the release deadline until that counts.
  const seconds = 2 * (10 + 10) + 10 + 1;
  await today.declare({ health });
  await today.cordonByHand("node-01");
  await today.publish("1.4.0");
  const down = await rebooting(today, "1.4.0");
  plane.pause("kube-apiserver");
  for (const member of etcd.members) member.pause();
  await Promise.all(today.cluster.managers.map((manager) => manager.kill()));
  try {
    await today.waitFor(
      "the machine is up for longer than every deadline",
      () => today.upFor(down) > seconds * 1000,
    );
  } finally {
    for (const member of etcd.members) member.resume();
    plane.resume("kube-apiserver");
  }
  await Promise.all(today.cluster.managers.map((manager) => manager.start()));
  await today.waitUntilDone("1.4.0", ["node-04"]);
  await today.uncordonByHand("node-01");
  await today.waitUntilDone("1.4.0");
  for (const name of names) expect(today.boots(name), `boots of ${name}`).toBe(1);
  const nodes = await today.nodeUpdates();
  expect(nodes.flatMap(({ status }) => status?.failed ?? [])).toEqual([]);
  expect((await today.group())?.status?.failures ?? []).toEqual([]);
  const release = await today.cluster.get<Release>("releases", "harbor-1.4.0");
  expect(release?.status?.conditions?.find(({ type }) => type === "Quarantined")?.status).not.toBe("True");
  await today.rest();
});

test("manager and API server die between the status Granting and the grant", async () => {
  const today = day();
  await today.declare();
  await today.publish("1.5.0");
  const rounds = await killWhileGranting(today.cluster, 4);
  process.stderr.write(`slipway: killed while granting: ${rounds.join(", ")}\n`);
  await today.waitUntilDone("1.5.0");
  await today.rest();
});
