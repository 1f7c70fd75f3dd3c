/** Days on which processes die, freeze and come back, in a rollout of 12 machines. */
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { tool } from "../../../hack/tools.ts";
import { SeededRandom } from "../../sim/random.ts";
import { type Day, days, machines } from "../day.ts";
import { grantEpochs } from "./history.ts";
import { leaderLease, leaderOf, logOf } from "./leader.ts";

const day = days({ machines: machines(12), managers: 2, gateways: 2, etcdMembers: 3, workloads: true });

/** Kills: enough for each kind more than twice, few enough to let the rollout end. */
const FAULTS = 12;

test("kill -9 of every kind of process at random moments", async () => {
  const today = day();
  const seed = Number(process.env["SLIPWAY_SEED"] ?? Date.now() % 100_000);
  process.stderr.write(`slipway: SLIPWAY_SEED=${seed}\n`);
  const random = new SeededRandom(seed);
  await today.cordonByHand("node-01");
  // Gateways that start again take seconds of a busy machine: a boot must not be blamed for that.
  await today.declare({ health: { bootDeadline: "60s" } });
  await today.publish("1.1.0");
  await today.waitUntilBooted("1.1.0", 1);
  const kills = faults(today, random);
  let order: (keyof typeof kills)[] = [];
  for (let count = 0; count < FAULTS; count++) {
    if (order.length === 0) order = shuffled(Object.keys(kills) as (keyof typeof kills)[], random);
    const what = order.pop() ?? "agent";
    process.stderr.write(`slipway: kills ${what}\n`);
    await kills[what]();
    await pause(random.below(1_500));
  }
  await today.uncordonByHand("node-01");
  await today.waitUntilDone("1.1.0");
  await today.rest();
});

/** What dies, and comes back. */
function faults(today: Day, random: SeededRandom) {
  const { cluster } = today;
  const down = async (): Promise<void> => pause(random.below(1_500));
  return {
    async manager() {
      const victim = random.pick(cluster.managers);
      await victim.kill();
      await down();
      await victim.start();
    },
    async gateway() {
      const victim = random.pick(cluster.gateways);
      await victim.kill();
      await down();
      await victim.start();
    },
    async agent() {
      await random.pick(cluster.machines).call("kill-agent");
    },
    async etcd() {
      const victim = random.pick(cluster.etcd.members);
      await victim.kill();
      await down();
      await victim.start();
    },
    async apiServer() {
      await cluster.plane.kill("kube-apiserver");
      await down();
      await cluster.plane.start("kube-apiserver");
    },
  };
}

function shuffled<T>(items: readonly T[], random: SeededRandom): T[] {
  return items
    .map((item) => ({ item, at: random.next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

test("a leader that was frozen beyond its Lease wakes up while another leads", async () => {
  const today = day();
  const { cluster } = today;
  const before = await leaderLease(cluster.plane);
  const old = leaderOf(cluster.managers, before);
  await today.declare();
  await today.publish("1.2.0");
  await today.waitUntilBooted("1.2.0", 1);
  old.freeze();
  try {
    await today.waitFor("the other manager leads", async () => {
      const now = await leaderLease(cluster.plane);
      return now.holder !== before.holder && now.transitions > before.transitions;
    });
    await today.waitUntilBooted("1.2.0", 4);
  } finally {
    old.thaw();
  }
  const frozenLog = logOf([old]).length;
  await today.waitFor("the old leader gave up", () => old.restarts > 0);
  expect(logOf([old]).slice(frozenLog)).toMatch(/Leadership was lost|another manager/);
  await today.waitUntilDone("1.2.0");
  // Never again a grant of the old epoch once a newer one was raised, whoever believed to lead.
  const history = await grantEpochs(cluster.etcd);
  expect(history.late).toEqual([]);
  expect(new Set(history.epochs).size).toBeGreaterThan(1);
  await today.rest();
});

// It takes minutes to build once: npm run test:long.
if (process.env["LONG"] === "1") {
  test("the API server goes to another minor version and back in the middle of a rollout", async () => {
    const today = day();
    const { plane } = today.cluster;
    const older = await tool("kube-apiserver-1.36");
    const served = async (): Promise<string> => {
      const { serverVersion } = JSON.parse(await plane.kubectl(["version", "-o", "json"]));
      return serverVersion.gitVersion;
    };
    const now = await served();
    await today.declare();
    await today.publish("1.9.0");
    await today.waitUntilBooted("1.9.0", 2);
    await plane.kill("kube-apiserver");
    await plane.start("kube-apiserver", older);
    expect(await served()).toMatch(/^v1\.36\./);
    await today.waitUntilBooted("1.9.0", 7);
    await plane.kill("kube-apiserver");
    await plane.start("kube-apiserver");
    expect(await served()).toBe(now);
    await today.waitUntilDone("1.9.0");
    await today.rest();
  });
}
