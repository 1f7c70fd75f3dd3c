/** An agent that somebody ends, or cuts off, at the worst moment. */
import { join } from "node:path";
import { expect } from "vitest";
import { startMirror } from "../../../hack/cluster/mirror.ts";
import type { Berth } from "../berth.ts";
import type { Day } from "../day.ts";

/**
 * With half of the image written, the first node's agent is killed, as where memory ran out, and the second one's Pod
 * is deleted; twice, because what the first one left behind is the start of the second.
 */
export async function endedInAWrite(day: Day, berth: Berth, version: string): Promise<void> {
  const { cluster } = day;
  const mirror = await startMirror(join(cluster.directory, "images"));
  mirror.fault = "stall";
  try {
    await berth.declare();
    await berth.publish(version, { urls: (good) => [good.replace(cluster.mirror.url, mirror.url)] });
    for (const verb of ["kill-agent", "replace-agent"]) {
      await Promise.all(
        berth.nodes.map(async (node, index) => {
          const before = (await berth.machine(node).status()).agentPid;
          await berth.until(node, "writes the image", ({ status }) => {
            return status?.step === "Staging" && status.reason === "Fetching" && status.connected === true;
          });
          await day.waitFor(`the mirror sent ${node} half of it`, () => mirror.sent > 0);
          await berth.machine(node).call(index === 0 ? "kill-agent" : verb);
          await day.waitFor(`another agent runs on ${node}`, async () => {
            const { agentPid } = await berth.machine(node).status();
            return agentPid !== undefined && agentPid !== before;
          });
        }),
      );
    }
    mirror.fault = "none";
    await berth.done(version);
  } finally {
    await mirror.close();
  }
  await wasHarmless(day, berth);
}

/** After its commit the one agent is killed before anything is done, the other one's Pod is deleted with the next slot already chosen. */
export async function endedBeforeTheReboot(day: Day, berth: Berth, version: string): Promise<void> {
  const [killed = "", deleted = ""] = berth.nodes;
  await berth.machine(killed).trap("arm-deadman", "kill-agent");
  await berth.machine(deleted).trap("reboot", "replace-agent");
  await berth.declare();
  await berth.publish(version);
  await berth.done(version);
  await wasHarmless(day, berth);
}

/** Its gateway is out of reach while a node drains: the slot goes to another, and nothing is left of it on the node. */
export async function cutOffInADrain(day: Day, berth: Berth, version: string): Promise<void> {
  const [cut = "", other = ""] = berth.nodes;
  const road = day.cluster.roads.get(cut);
  if (road === undefined) throw new Error(`there is no road of ${cut}`);
  await berth.hold(other, `${cut} goes first`);
  await berth.block(cut);
  await berth.declare({ drain: { timeout: "30m" } });
  await berth.publish(version);
  await berth.until(cut, "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
  await road.refuse(true);
  road.reset();
  await berth.hold(other, undefined);
  const given = await berth.until(cut, "gave its slot back", ({ status }) => status?.grant === undefined);
  expect(given.status?.transitions).toContainEqual(
    expect.objectContaining({
      step: "Draining",
      message: "The agent has been away for a minute before it could commit.",
    }),
  );
  expect(given.status).toMatchObject({ step: "Staged", reason: "AgentLost", connected: false });
  await berth.done(version, [cut]);
  await berth.unblock(cut);
  await road.refuse(false);
  await berth.done(version);
  await wasHarmless(day, berth);
}

/** One reboot for each, nobody blamed, no switch left armed. */
async function wasHarmless(day: Day, berth: Berth): Promise<void> {
  expect(berth.nodes.map((node) => day.boots(node))).toEqual(berth.nodes.map(() => 1));
  expect((await berth.nodeUpdates()).flatMap(({ status }) => status?.failed ?? [])).toEqual([]);
  expect((await berth.group())?.status?.failures).toEqual([]);
  for (const node of berth.nodes) {
    await day.waitFor(`the dead man's switch of ${node} is at rest`, async () => {
      return !(await berth.machine(node).status()).armed;
    });
  }
  expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);
}
