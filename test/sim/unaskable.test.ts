/** One node for which no slot can be asked (rule 13). */
import { expect, test } from "vitest";
import { ApiError } from "../../runtime/client.ts";
import { runSchedule } from "./run.ts";
import type { Plants } from "./world.ts";

const PATIENCE = { timeout: 180_000 };
const SEEDS = [1, 2, 3, 4];
const settings = {
  nodes: 3,
  zones: 3,
  plain: 0,
  gateways: 1,
  maxUnavailable: 1,
  staged: false,
  windows: false,
  defect: undefined,
};
const plan = { length: 240_000, every: 60_000, kinds: ["killManager"] as const };

test("a node whose Pod somebody else's webhook guards holds up none of the others", PATIENCE, async () => {
  for (const seed of SEEDS) {
    const { updates } = await runSchedule(seed, { plan, settings: { ...settings, guarded: true } });
    expect(updates, `seed ${seed}`).toBe(2);
  }
});

test("a node whose Pods can't be read holds up none of the others", PATIENCE, async () => {
  const last = "harbor-3";
  const plants: Plants = {
    client: (client) => ({
      ...client,
      list: (resource, options) =>
        options?.fieldSelector === `spec.nodeName=${last}`
          ? Promise.reject(new ApiError("Timeout", "no answer in time"))
          : client.list(resource, options),
    }),
  };
  for (const seed of SEEDS) {
    // The rule names the first node that is late: those before it are not.
    await expect(
      runSchedule(seed, { plan, settings: { ...settings, guarded: false }, plants }),
    ).rejects.toThrow(new RegExp(`${last}.*SlotNotAsked: Asking for a slot failed: no answer in time`));
  }
});
