/** `updateservicectl rollout`, by protocol suite, and what GitOps declares. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { updateGroup } from "../../api/update-group.ts";
import { ports } from "../../runtime/test-namespace.ts";
import { applyFile } from "../../test/apply-file.ts";
import { refusal, UpdateServiceRoom, WAIT } from "../../test/coreupdate/service.ts";
import { Rollout } from "../../test/coreupdate/wire.ts";

let room: UpdateServiceRoom;
beforeAll(async () => {
  room = await UpdateServiceRoom.open("1.0.0", "1.2.0");
});
afterAll(() => room?.close());

describe("rollout", () => {
  test("create linear, get, deactivate and activate", async () => {
    const id = await room.group("rolled", room.own("stable"));
    expect((await room.alice.rolloutGet(room.app, id)).rollout).toEqual([]);
    await room.alice.rolloutLinear(room.app, id, 400, 100);
    const frames = [25, 50, 75].map((percent) => ({ percent, duration: 100n }));
    expect((await room.alice.rolloutGet(room.app, id)).rollout).toEqual([
      ...frames,
      { percent: 100, duration: 0n },
    ]);
    expect((await room.groupNow(id)).spec.stages).toMatchObject(
      ["25%", "50%", "75%"].map((count) => ({ count, soak: "1m40s" })),
    );
    const shown = async () => (await room.alice.groupList(room.app)).items.find((one) => one.id === id);
    expect(await shown()).toMatchObject({ rolloutActive: true, updatePercent: 25 });
    await pass(id, 1);
    await expect.poll(async () => (await shown())?.updatePercent, WAIT).toBe(50);
    // A pause in the middle sends back the percentage that was read, and moves nothing.
    await room.alice.groupPause(room.app, id);
    await room.alice.groupUnpause(room.app, id);
    expect(await room.alice.rolloutActive(room.app, id, false)).toEqual({
      appId: room.app,
      groupId: id,
      active: false,
    });
    expect((await room.groupNow(id)).spec.stages).toMatchObject([
      { count: "25%" },
      { count: "50%", soak: "99999h" },
    ]);
    expect((await room.alice.rolloutGet(room.app, id)).rollout).toEqual([
      ...frames,
      { percent: 100, duration: 0n },
    ]);
    expect(await shown()).toMatchObject({ rolloutActive: false, updatePercent: 50 });
    expect(await room.alice.rolloutActive(room.app, id, true)).toMatchObject({ active: true });
    expect((await room.groupNow(id)).spec.stages).toMatchObject(
      ["25%", "50%", "75%"].map((count) => ({ count, soak: "1m40s" })),
    );
    // Twice is once.
    expect(await room.alice.rolloutActive(room.app, id, true)).toMatchObject({ active: true });
  });

  test("a day in frames of a minute is sixteen stages, never ahead", async () => {
    const id = await room.group("day", room.own("stable"));
    await room.alice.rolloutLinear(room.app, id, 86_400, 60);
    const { stages } = (await room.groupNow(id)).spec;
    expect(stages.length).toBeLessThanOrEqual(16);
    const total = (await room.alice.rolloutGet(room.app, id)).rollout.reduce(
      (sum, { duration }) => sum + duration,
      0n,
    );
    // The last of its 1440 frames has 100 % already.
    expect(total).toBe(86_340n);
  });

  test("what is no rollout is refused", async () => {
    const id = await room.group("wrong", room.own("stable"));
    const set = (frames: object[]) =>
      refusal(
        room.alice.call(Rollout, "POST", `apps/${room.app}/groups/${id}/rollout`, {
          body: { rollout: frames },
        }),
      );
    expect(await set([])).toContain("400 A rollout needs at least one frame");
    expect(
      await set([
        { percent: 50, duration: "1" },
        { percent: 20, duration: "1" },
      ]),
    ).toContain("rise from 0");
    expect(await set([{ percent: 50, duration: "1" }])).toContain(
      "The last frame of a rollout has 100 percent",
    );
    expect(await set([{ percent: 100, duration: "-5" }])).toContain("number of seconds");
    expect(await set([{ percent: 100, duration: "x" }])).toMatch(/^400 rollout\.0\.duration/);
    expect(await refusal(room.alice.rolloutActive(room.app, id, true))).toContain("has no rollout");
  });

  /** Writes the status as a manager would that let `count` stages pass. */
  async function pass(name: string, count: number): Promise<void> {
    const { spec } = await room.groupNow(name);
    const at = new Date(ports.clock.now()).toISOString();
    const stages = spec.stages.map((stage, i) => ({
      ...{ name: stage.name, size: 0, verified: 0 },
      ...(i <= count ? { openedAt: at } : {}),
      ...(i < count ? { passedAt: at } : {}),
    }));
    const body = { status: { stages } };
    await room.here.admin.patch(updateGroup, { name }, { type: "merge", body }, { subresource: "status" });
  }
});

describe("what GitOps declares", () => {
  test("is a clear 409, and stays as it is", async () => {
    const id = room.own("git");
    room.remember(updateGroup, id);
    const declared = {
      ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name: id } },
      spec: {
        ...{ channel: room.own("stable"), paused: false, windows: "Always" },
        machines: { excludedOEMs: ["ami"] },
        ...{ nodeSelector: { matchLabels: { git: id } }, stages: [{ name: "canary", count: "10%" }] },
      },
    } as unknown as KubeObject;
    await room.here.admin.apply(updateGroup, declared, { fieldManager: "kustomize-controller" });
    const there = async () => (await room.alice.groupList(room.app)).items.some((one) => one.id === id);
    await expect.poll(there, WAIT).toBe(true);
    expect(await refusal(room.alice.groupPause(room.app, id))).toContain(
      `409 spec.paused of UpdateGroup ${id} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(room.alice.groupPercent(room.app, id, 50))).toBe(
      `409 spec.stages of UpdateGroup ${id} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(room.alice.groupExclude(room.app, id, "ami,azure"))).toBe(
      `409 spec.machines.excludedOEMs of UpdateGroup ${id} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(room.alice.groupDelete(room.app, id))).toBe(
      `409 UpdateGroup ${id} belongs to kustomize-controller: delete it there.`,
    );
    const { spec, metadata } = await room.groupNow(id);
    expect([spec.paused, spec.stages.map(({ name }) => name)]).toEqual([false, ["canary"]]);
    expect(metadata.deletionTimestamp).toBeUndefined();
    // What it doesn't declare may be set.
    expect(await room.alice.groupChange(room.app, id, { label: "From Git" })).toMatchObject({
      label: "From Git",
    });
  });

  test("and what a file that is applied does not name, is anybody's", async () => {
    const spec = { channel: room.own("stable"), windows: "Always", machines: {} };
    for (const [title, more, answered] of [
      ["file", {}, "done"],
      ["named", { paused: false }, "409 spec.paused of UpdateGroup"],
    ] as const) {
      const id = room.own(title);
      room.remember(updateGroup, id);
      const selector = { nodeSelector: { matchLabels: { file: id } } };
      const kind = { apiVersion: API_VERSION, kind: "UpdateGroup" };
      await applyFile({ ...kind, metadata: { name: id }, spec: { ...spec, ...selector, ...more } });
      const there = async () => (await room.alice.groupList(room.app)).items.some((one) => one.id === id);
      await expect.poll(there, WAIT).toBe(true);
      if (answered === "done") {
        expect(await room.alice.groupPause(room.app, id)).toMatchObject({ updatesPaused: true });
        expect(await room.alice.groupPercent(room.app, id, 50)).toMatchObject({ updatePercent: 50 });
        expect(await room.alice.groupExclude(room.app, id, "ami")).toMatchObject({ oemBlacklist: "ami" });
      } else expect(await refusal(room.alice.groupPause(room.app, id))).toContain(answered);
      expect((await room.groupNow(id)).spec.paused).toBe(answered === "done");
      expect(await refusal(room.alice.groupDelete(room.app, id))).toContain(
        "belongs to kubectl-client-side-apply: delete it there",
      );
    }
  });

  test("stages that somebody made by hand are not overwritten", async () => {
    const id = await room.group("hand", room.own("stable"));
    const body = { spec: { stages: [{ name: "canary", count: 1 }] } };
    const patch = { type: "merge", body } as const;
    await room.here.admin.patch(updateGroup, { name: id }, patch, { fieldManager: "kubectl-edit" });
    const refused = async () => await refusal(room.alice.groupPercent(room.app, id, 50)).catch(() => "");
    await expect.poll(refused, WAIT).toContain("has stages of its own (canary)");
    expect((await room.groupNow(id)).spec.stages).toMatchObject([{ name: "canary" }]);
  });
});
