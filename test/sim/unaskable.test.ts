/** One node for which no slot can be asked (rule 13). */
import { expect, test } from "vitest";
import { ApiError } from "../../runtime/client.ts";
import { runSchedule } from "./run.ts";
import { CALM, type Plants } from "./world.ts";

const PATIENCE = { timeout: 180_000 };
const SEEDS = [1, 2, 3, 4];
const settings = { ...CALM, gateways: 1 };
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

test("a taint that nobody may change holds up no slot", PATIENCE, async () => {
  const waiting = "slipway.dev/update-pending";
  let refused = 0;
  const plants: Plants = {
    client: (client) => ({
      ...client,
      patch: (resource, target, patch, options) => {
        const { spec } = patch.body as { spec?: { taints?: { key: string }[] | null } };
        if (spec?.taints === undefined || spec.taints?.some(({ key }) => key === waiting))
          return client.patch(resource, target, patch, options);
        refused++;
        return Promise.reject(new ApiError("Forbidden", "taints stay as they are", { status: 403 }));
      },
    }),
  };
  for (const seed of SEEDS) {
    const { updates } = await runSchedule(seed, {
      plan,
      settings: { ...settings, guarded: false, preferNoSchedule: true },
      plants,
    });
    expect(updates, `seed ${seed}`).toBe(3);
  }
  expect(refused).toBeGreaterThan(0);
});

test("a node whose NodeUpdate was changed meanwhile asks again within seconds", PATIENCE, async () => {
  for (const seed of SEEDS) {
    let refused = false;
    const plants: Plants = {
      client: (client) => ({
        ...client,
        apply: (resource, object, options) => {
          const { step } = (object as { status?: { step?: string } }).status ?? {};
          if (refused || step !== "Granting") return client.apply(resource, object, options);
          refused = true;
          return Promise.reject(new ApiError("Conflict", "the object has been modified", { status: 409 }));
        },
      }),
    };
    const moments: number[] = [];
    await runSchedule(seed, {
      plan: { ...plan, length: 1 },
      settings: { ...settings, nodes: 1, zones: 1, guarded: false, web: 0 },
      plants,
      trace: (line) => {
        if (/SlotNotAsked|Granting/.test(line)) moments.push(Number.parseFloat(line));
      },
    });
    const [said = 0, asked = Infinity] = moments;
    expect(refused).toBe(true);
    expect(asked - said, `seed ${seed}`).toBeLessThan(15);
  }
});
