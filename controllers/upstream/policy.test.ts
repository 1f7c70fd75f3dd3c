import { describe, expect, it } from "vitest";
import { type Channel, ChannelSpec, Upstream } from "../../api/channel.ts";
import { API_VERSION } from "../../api/meta.ts";
import type { Release } from "../../api/release.ts";
import { conditionsOf, decideUpstream, machineIdOf, nextLook, type Step } from "./policy.ts";

const sha256 = "ab".repeat(32);
const upstream = (more: object = {}): Upstream =>
  Upstream.parse({ url: "https://up.test/v1/update/", product: "os", track: "stable", ...more });
const channel = (spec: object = {}): Channel => ({
  ...{ apiVersion: API_VERSION, kind: "Channel", metadata: { name: "stable", uid: "u1" } },
  spec: ChannelSpec.parse({ upstream: upstream(), ...spec }),
});
const step = (version: string, hash = sha256): Step => ({
  codebases: [`https://up.test/${version}`],
  manifest: { version, target: false, extras: [], payload: { name: "update.gz", size: 5, sha256: hash } },
});
const decide = (way: Step[], options: { spec?: object; up?: object; releases?: Release[] } = {}) =>
  decideUpstream(
    channel(options.spec),
    upstream(options.up),
    new Map([["amd64", way]]),
    options.releases ?? [],
  );
const made = (version: string, hash?: string): Release => {
  const [release] = decide([step(version, hash)]).declare;
  if (release === undefined) throw new Error("nothing was declared");
  return release;
};

describe("what an upstream offers", () => {
  it("becomes a Release that the channel owns, and no more", () => {
    expect(decide([step("1.0.0")])).toMatchObject({
      declare: [
        {
          metadata: { name: "stable-1.0.0-amd64", ownerReferences: [{ kind: "Channel", uid: "u1" }] },
          spec: {
            ...{ version: "1.0.0", product: "os", steppingStone: false },
            omaha: [{ codebases: ["https://up.test/1.0.0/"], payload: { sha256 } }],
          },
        },
      ],
      followed: { reason: "UpstreamFollowed" },
    });
    expect(decide([step("1.0.0")])).not.toHaveProperty("promote");
  });

  it("is fetched from elsewhere where the channel says so", () => {
    const codebases = ["{gateway}/payloads/{name}/{architecture}/"];
    expect(decide([step("1.0.0")], { up: { codebases } }).declare[0]?.spec.omaha?.[0]?.codebases).toEqual(
      codebases,
    );
  });

  it("has stepping stones before the newest", () => {
    const { declare } = decide([step("1.0.0"), step("2.0.0"), step("3.0.0")]);
    expect(declare.map(({ spec }) => [spec.version, spec.steppingStone])).toEqual([
      ["1.0.0", true],
      ["2.0.0", true],
      ["3.0.0", false],
    ]);
  });

  it("is not led past a version that became a stepping stone after it was declared", () => {
    const up = { follow: "Promote" };
    expect(decide([step("1.0.0"), step("2.0.0")], { up, releases: [made("1.0.0")] })).toEqual({
      declare: [],
      followed: {
        reason: "UpstreamDiffers",
        message: expect.stringMatching(/stable-1\.0\.0-amd64.* is no stepping stone: delete it/),
      },
    });
  });

  it("makes no more Releases than a channel may have", () => {
    const releases = Array.from({ length: 256 }, (_, i) => made(`1.0.${i}`));
    expect(decide([step("1.0.256")], { releases: releases.slice(1) }).declare).toHaveLength(1);
    expect(decide([step("1.0.256")], { releases })).toMatchObject({
      declare: [],
      followed: { reason: "UpstreamInvalid", message: expect.stringMatching(/has made 256 Releases/) },
    });
    expect(decide([step("1.0.255")], { releases })).toMatchObject({
      followed: { reason: "UpstreamCrowded" },
    });
  });

  it("is followed with a warning while there is little room for more", () => {
    const releases = Array.from({ length: 191 }, (_, i) => made(`1.0.${i}`));
    expect(decide([step("1.0.190")], { releases }).followed.reason).toBe("UpstreamFollowed");
    const { declare, followed } = decide([step("1.0.191")], { releases });
    expect(declare).toHaveLength(1);
    expect(followed).toMatchObject({
      reason: "UpstreamCrowded",
      message: expect.stringMatching(/offers stable-1\.0\.191-amd64.* has made 192 Releases, and makes 256/),
    });
    expect(conditionsOf(undefined, followed)[1]).toMatchObject({ status: "True", reason: "UpstreamCrowded" });
    // That of somebody else is not its own.
    const foreign = made("0.9.0");
    foreign.metadata = { name: "mine" };
    expect(decide([step("1.0.190")], { releases: [...releases, foreign] }).followed.reason).toBe(
      "UpstreamFollowed",
    );
  });

  it("is made once", () => {
    expect(decide([step("1.0.0")], { releases: [made("1.0.0")] }).declare).toEqual([]);
  });

  it("is nothing, and that is no error", () => {
    expect(decide([])).toMatchObject({ declare: [], followed: { reason: "UpstreamFollowed" } });
  });

  it("never takes the place of other files under the same version", () => {
    const releases = [made("1.0.0", "cd".repeat(32))];
    expect(decide([step("1.0.0")], { releases, up: { follow: "Promote" } })).toEqual({
      declare: [],
      followed: {
        reason: "UpstreamDiffers",
        message: "The upstream offers other files as 1.0.0 for amd64 than Release stable-1.0.0-amd64 has.",
      },
    });
  });

  it("is never older than what there is", () => {
    const promote = { up: { follow: "Promote" } };
    expect(decide([step("1.0.0")], { ...promote, releases: [made("2.0.0")] })).toMatchObject({
      declare: [],
      followed: { reason: "UpstreamOlder" },
    });
    const foreign: Release = { ...made("2.0.0"), metadata: { name: "mine" } };
    const spec = { release: "mine" };
    expect(decide([step("1.0.0")], { ...promote, spec, releases: [foreign] })).not.toHaveProperty("promote");
    expect(decide([step("1.0.0")], { releases: [foreign] }).declare).toHaveLength(1);
  });

  it("can't be declared with what no Release may have", () => {
    for (const wrong of ["latest", "1.0.0/../x", ""])
      expect(decide([step(wrong)])).toMatchObject({ declare: [], followed: { reason: "UpstreamInvalid" } });
  });
});

describe("a channel that promotes", () => {
  const up = { follow: "Promote" };

  it("is pointed at the newest once", () => {
    expect(decide([step("1.0.0")], { up }).promote).toEqual({ release: "stable-1.0.0-amd64" });
    const spec = { release: "stable-1.0.0-amd64" };
    expect(decide([step("1.0.0")], { up, spec, releases: [made("1.0.0")] })).not.toHaveProperty("promote");
    expect(decide([step("2.0.0")], { up, spec, releases: [made("1.0.0")] }).promote).toEqual({
      release: "stable-2.0.0-amd64",
    });
  });

  it("waits until it has all architectures", () => {
    const both = upstream({ ...up, architectures: ["amd64", "arm64"] });
    const ways = new Map([["amd64", [step("1.0.0")]] as const]);
    expect(decideUpstream(channel(), both, ways, [])).not.toHaveProperty("promote");
    const all = new Map([["amd64", [step("1.0.0")]] as const, ["arm64", [step("1.0.1")]] as const]);
    expect(decideUpstream(channel(), both, all, []).promote).toEqual({
      release: "stable-1.0.0-amd64",
      architectures: [
        { architecture: "amd64", release: "stable-1.0.0-amd64" },
        { architecture: "arm64", release: "stable-1.0.1-arm64" },
      ],
    });
  });

  it("does not point at a release that is quarantined", () => {
    const conditions = [
      {
        type: "Quarantined",
        status: "True",
        reason: "ReleaseQuarantined",
        message: "",
        lastTransitionTime: "",
      },
    ] as const;
    const releases: Release[] = [{ ...made("1.0.0"), status: { conditions: [...conditions] } }];
    expect(decide([step("1.0.0")], { up, releases })).not.toHaveProperty("promote");
  });
});

it("looks again soon after a failure, and ever later, never later than usual", () => {
  const waits = [0, 1, 2, 3, 30].map((failures) => Math.round(nextLook("u1", upstream(), failures) / 6000));
  const [usual = 0, first = 0] = waits;
  expect(usual).toBeGreaterThanOrEqual(540);
  expect(usual).toBeLessThanOrEqual(660);
  expect(first * 60).toBeCloseTo(usual, -2);
  expect(waits.slice(1)).toEqual(
    [first, first * 2, first * 4, usual].map((wait) => expect.closeTo(wait, -1)),
  );
});

it("has one UUID for each channel and architecture", () => {
  const id = machineIdOf("u1", "amd64");
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(machineIdOf("u1", "amd64")).toBe(id);
  expect(new Set([id, machineIdOf("u1", "arm64"), machineIdOf("u2", "amd64")]).size).toBe(3);
});

it("says whether the upstream answered, and what became of it", () => {
  const failed = { reason: "UpstreamUnreachable", message: "It gave no answer." } as const;
  expect(conditionsOf(failed, undefined)).toMatchObject([
    { type: "UpstreamReachable", status: "False", ...failed },
  ]);
  const followed = { reason: "UpstreamOlder", message: "It is older." } as const;
  expect(conditionsOf(undefined, followed)).toMatchObject([
    { type: "UpstreamReachable", status: "True" },
    { type: "UpstreamFollowed", status: "False" },
  ]);
});
