/**
 * An agent that is frozen between its commit and its reboot, while a person steals its slot,
 * pauses its group, or the window closes. Thawed after its seconds are spent, it must not reboot.
 */
import { expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../../api/labels.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { windowUntil } from "../windows.ts";

/** A commit's answer is never good for longer, ms (coordination/admission.ts). */
const COMMIT_AT_MOST = 30_000;
/** Long enough for the dead man's switch to outlast the freeze: what reboots then would be the agent. */
const health = { bootDeadline: "60s", rebootTime: "15s", releaseDeadline: "60s" };
/** Two boots and a minute: what must fit into the window after a commit, ms. */
const BOOT_NEEDS = 180_000;

const start = days({ machines: machines(4), limits: { total: 3, perZone: 2 } });

test("a steal, a pause and a closing window find an agent frozen after its commit; thawed late, none reboots", async () => {
  const day = start();
  const stolen = new Berth(day, "stolen", ["node-01", "node-04"]);
  const paused = new Berth(day, "paused", ["node-02"]);
  const closing = new Berth(day, "closing", ["node-03"]);
  const victims = [
    { berth: stolen, node: "node-01", waitsFor: "Held" },
    { berth: paused, node: "node-02", waitsFor: "Paused" },
    { berth: closing, node: "node-03", waitsFor: "WaitingForWindow" },
  ];
  await stolen.annotate("node", "node-04", HOLD_ANNOTATION, "node-01 goes first");
  for (const { berth, node } of victims) await berth.machine(node).trap("arm-deadman", "freeze-agent");
  await stolen.declare({ health });
  await paused.declare({ health });
  await closing.declare({ health, drain: { enabled: false } }, { tier: "closing" });
  for (const { berth } of victims) await berth.publish(`1.1.0-${berth.name}`);
  await closing.until("node-03", "is staged and waits for its window", ({ status }) => {
    return status?.step === "Staged" && status.reason === "WaitingForWindow";
  });
  const closes = Date.now() + BOOT_NEEDS + COMMIT_AT_MOST;
  await day.cluster.apply(windowUntil("closing", closes, { tier: "closing" }));
  for (const { berth, node } of victims) {
    await berth.until(node, "has committed", ({ status }) => status?.grant?.phase === "Committed");
    await day.waitFor(`${node} is frozen`, async () => (await berth.machine(node).status()).armed);
  }
  const frozenAt = Date.now();
  const boots = victims.map(({ node }) => day.boots(node));

  await stolen.annotate("nodeupdate", "node-01", STEAL_ANNOTATION, "its console is dead");
  await stolen.annotate("node", "node-01", HOLD_ANNOTATION, "to be looked at");
  await stolen.annotate("node", "node-04", HOLD_ANNOTATION, undefined);
  await paused.patch({ paused: true });
  const freed = await stolen.until("node-01", "lost its slot", ({ status }) => status?.grant === undefined);
  expect(freed.status?.stolen).toBe("its console is dead");
  expect(freed.status?.transitions?.map(({ message }) => message)).toContainEqual(
    "A person freed the slot: its console is dead. The budget may be overrun.",
  );
  expect(await day.events("node-01")).toContainEqual(expect.objectContaining({ reason: "Stolen" }));
  // The place is another's now, though the first one's machine may still reboot.
  await stolen.done(`1.1.0-${stolen.name}`, ["node-01"]);
  expect((await paused.nodeUpdates())[0]?.status?.grant?.phase).toBe("Committed");

  await day.waitFor("the commits are spent", () => {
    return Date.now() > Math.max(frozenAt + COMMIT_AT_MOST, closes - BOOT_NEEDS);
  });
  for (const { berth, node } of victims) await berth.machine(node).call("thaw-agent");
  for (const { berth, node, waitsFor } of victims) {
    await berth.until(node, "is back without its slot", ({ status }) => {
      return status?.connected === true && status.grant === undefined && status.reason === waitsFor;
    });
    await day.waitFor(`${node} put its dead man's switch at rest`, async () => {
      return !(await berth.machine(node).status()).armed;
    });
  }
  expect(victims.map(({ node }) => day.boots(node))).toEqual(boots);
  await day.rest();
});
