/** locksmith's set-max against a real API server, whose field managers decide who owns a limit. */
import { afterAll, beforeAll, beforeEach, expect, inject, it } from "vitest";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { type UpdateGroup, UpdateGroupSpec, updateGroup } from "../../api/update-group.ts";
import type { JournalEntry } from "../../coordination/records.ts";
import { systemClock as clock } from "../../ports/clock.ts";
import { silentLogger as log } from "../../ports/log.ts";
import { systemRandom as random } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { applyFile } from "../../test/apply-file.ts";
import type { SetMax } from "./semaphore.ts";
import { setMaxBy } from "./set-max.ts";

const name = `set-max-${random.uuid().slice(0, 8)}`;
let client: RestClient;
let setMax: SetMax;
let entries: JournalEntry[];
const coordination = {
  append: (entry: JournalEntry) => {
    entries.push(entry);
    return Promise.resolve();
  },
};
beforeAll(() => {
  client = createRestClient(loadKubeConfig(inject("kubeconfig")), { clock, random });
  setMax = setMaxBy({ client, coordination, clock, log });
});
afterAll(() => client.close());
beforeEach(() => void (entries = []));
beforeEach(() => client.delete(updateGroup, { name }));
afterAll(() => client.delete(updateGroup, { name }));

/** `owner` declares the group, with `spec` on top. */
async function declare(owner: string, spec: Record<string, unknown> = {}): Promise<void> {
  const base = { nodeSelector: { matchLabels: { none: "such" } }, driver: "sentinel", windows: "Always" };
  const group = {
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name } },
    spec: { ...base, machines: { setMax: true }, ...spec },
  };
  UpdateGroupSpec.parse(group.spec);
  await client.apply(updateGroup, group, { fieldManager: owner });
}
const spec = async () => (await client.get<UpdateGroup>(updateGroup, { name })).spec;

it("sets the group's limit, pauses it by 0, and lets it go on", async () => {
  await declare("argocd");
  expect(await setMax(name, 3)).toBe("done");
  expect(await spec()).toMatchObject({ maxUnavailable: 3, paused: false });
  expect(await setMax(name, 0)).toBe("done");
  expect(await spec()).toMatchObject({ maxUnavailable: 3, paused: true });
  expect(await setMax(name, 2)).toBe("done");
  expect(await spec()).toMatchObject({ maxUnavailable: 2, paused: false });
  expect(entries.map(({ group, by, message }) => [group, by, message.replace(/.*: /, "")])).toEqual([
    [name, "locksmith", "old max 1, max 3."],
    [name, "locksmith", "old max 3, max 0."],
    [name, "locksmith", "old max 0, max 2."],
  ]);
  await declare("argocd", { windows: "OnlyInWindows" });
  expect(await spec()).toMatchObject({ maxUnavailable: 2, windows: "OnlyInWindows" });
});

it("takes over what somebody edited by hand", async () => {
  await declare("kubectl-edit", { maxUnavailable: 4 });
  expect(await setMax(name, 2)).toBe("done");
  expect((await spec()).maxUnavailable).toBe(2);
});

it("takes what kubectl apply made by default, and not what it declares", async () => {
  const manifest = (spec: object) => ({
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name } },
    spec: {
      ...{ nodeSelector: { matchLabels: { none: "such" } }, driver: "sentinel", windows: "Always" },
      ...{ machines: { setMax: true }, ...spec },
    },
  });
  for (const [declared, said] of [
    [{}, "done"],
    [{ maxUnavailable: 4 }, expect.stringContaining("belongs to kubectl-client-side-apply")],
  ] as const) {
    await client.delete(updateGroup, { name });
    await applyFile(manifest(declared));
    expect(await setMax(name, 2)).toEqual(said);
  }
});

it.each([
  [{ maxUnavailable: 4 }, 2, "spec.maxUnavailable of UpdateGroup"],
  [{ paused: false }, 0, "spec.paused of UpdateGroup"],
])("leaves what another manager declares: %j", async (declared, max, sentence) => {
  await declare("argocd", declared);
  const said = await setMax(name, max);
  expect(said).toContain(sentence);
  expect(said).toContain("belongs to argocd");
  expect(entries).toEqual([]);
  expect(await spec()).toMatchObject(declared);
});

it("lifts no pause that somebody else made", async () => {
  await declare("argocd", { paused: true });
  expect(await setMax(name, 2)).toContain("paused by somebody else");
  expect(await spec()).toMatchObject({ maxUnavailable: 1, paused: true });
});

/** As the console does. */
async function pauseByConsole(): Promise<void> {
  const pause = {
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name } },
    spec: { paused: true },
  };
  await client.apply(updateGroup, pause, { fieldManager: "slipway-console-paused" });
}

it("lifts no pause that somebody else made as well, and sets nothing then", async () => {
  for (const pauses of [
    [() => setMax(name, 0), pauseByConsole],
    [pauseByConsole, () => setMax(name, 0)],
  ]) {
    await client.delete(updateGroup, { name });
    await declare("argocd");
    for (const pause of pauses) await pause();
    expect(await setMax(name, 2)).toContain("paused by somebody else");
    expect(await spec()).toMatchObject({ maxUnavailable: 1, paused: true });
  }
});

it("does not say that it is done where somebody pauses meanwhile", async () => {
  await declare("argocd");
  expect(await setMax(name, 0)).toBe("done");
  const apply: typeof client.apply = async <T extends KubeObject>(
    ...call: Parameters<typeof client.apply>
  ) => {
    const applied = await client.apply(...call);
    await pauseByConsole();
    return applied as T;
  };
  const late = setMaxBy({ coordination, clock, client: { get: client.get.bind(client), apply }, log });
  expect(await late(name, 2)).toMatch(
    /^2 machines of it may be down, but UpdateGroup .* paused by somebody else/,
  );
  expect(await spec()).toMatchObject({ maxUnavailable: 2, paused: true });
});

it("does nothing where the group does not say so, for no number, and for no group", async () => {
  await declare("argocd", { machines: {} });
  expect(await setMax(name, 2)).toContain(`set spec.machines.setMax, or run kubectl slipway locks set-max`);
  expect(await setMax(name, -1)).not.toBe("done");
  await declare("argocd");
  expect(await setMax(name, -1)).toContain("no number of machines");
  expect(await setMax("no-such-group", 2)).toBe("there is no UpdateGroup no-such-group");
  expect((await spec()).maxUnavailable).toBe(1);
});
