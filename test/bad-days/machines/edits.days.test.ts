/** People who change their minds in the middle of a rollout. */
import { expect, test } from "vitest";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";

const start = days({ machines: machines(4), limits: { total: 3, perZone: 2 } });
const NODES = ["node-01", "node-02", "node-03", "node-04"];

test("a group is edited, paused and resumed in the middle of a rollout", async () => {
  const day = start();
  const berth = new Berth(day, "edited", NODES);
  await berth.declare({ stages: [{ name: "canary", count: 1, soak: "1h" }] });
  await berth.publish("1.1.0");
  await day.waitFor("the canary soaks", async () => progressing(await berth.group()) === "StageSoaking");
  expect(day.booted("1.1.0").length).toBe(1);

  await berth.patch({ stages: [], maxUnavailable: 3 });
  await day.waitFor("another node commits", async () => {
    return (await berth.nodeUpdates()).some(({ status }) => status?.grant?.phase === "Committed");
  });
  await berth.patch({ paused: true });
  await day.waitFor("the pause binds, and what was committed has returned", async () => {
    const group = await berth.group();
    const flying = (await berth.nodeUpdates()).some(({ status }) => status?.grant !== undefined);
    return group?.status?.gate?.paused === true && progressing(group) !== "RollingOut" && !flying;
  });
  const since = Date.parse((await berth.group())?.status?.gate?.since ?? "");
  await berth.patch({ paused: false });
  await berth.done("1.1.0");
  expect(since).toBeGreaterThan(0);
  expect(NODES.map((node) => day.boots(node))).toEqual([1, 1, 1, 1]);
  await day.rest();
});

test("a channel is pointed elsewhere in the middle of a rollout; who holds a slot ends what it began", async () => {
  const day = start();
  const berth = new Berth(day, "edited", NODES);
  await berth.block("node-01");
  await berth.publish("1.2.0");
  await berth.until("node-01", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
  await berth.publish("1.3.0");
  await berth.done("1.3.0", ["node-01"]);
  const held = await day.nodeUpdate("node-01");
  expect(held?.status).toMatchObject({ target: "1.2.0", grant: { release: "harbor-1.2.0" } });
  await berth.unblock("node-01");
  await berth.done("1.3.0");
  await day.rest();
});

test("a release is deleted in the middle of its rollout; slots are given back and machines keep what they run", async () => {
  const day = start();
  const berth = new Berth(day, "edited", NODES);
  await berth.block("node-01");
  await berth.publish("1.4.0");
  await berth.until("node-01", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
  await berth.kubectl("delete", "release", "harbor-1.4.0");
  const given = await berth.until("node-01", "gave its slot back", ({ status }) => status?.grant === undefined);
  expect(given.status?.transitions?.map(({ reason }) => reason)).toContain("ReleaseNotFound");
  await day.waitFor("the group says so", async () => progressing(await berth.group()) === "ReleaseNotFound");
  await berth.unblock("node-01");
  await day.rest();
  expect(day.booted("1.4.0")).not.toContain("node-01");

  await berth.publish("1.5.0");
  await berth.done("1.5.0");
  await day.rest();
});

function progressing(group: Awaited<ReturnType<Berth["group"]>>): string | undefined {
  return group?.status?.conditions?.find(({ type }) => type === "Progressing")?.reason;
}
