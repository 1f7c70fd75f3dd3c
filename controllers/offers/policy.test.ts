import { describe, expect, it } from "vitest";
import type { Channel } from "../../api/channel.ts";
import { NOBODY_LABEL, RETRY_MACHINES_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, timestamp } from "../../api/meta.ts";
import { type Release, ReleaseSpec } from "../../api/release.ts";
import type { UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import type { Tally } from "../../coordination/records.ts";
import { group, NOW } from "../fixtures.ts";
import { decideRollout } from "../rollout/policy.ts";
import { decideOffers } from "./policy.ts";

const sha256 = "0".repeat(64);
function release(version: string, more: Record<string, unknown> = {}): Release {
  const payload = { name: `${version}.gz`, size: 1, sha256 };
  const omaha = ["amd64", "arm64"].map((architecture) => ({
    architecture,
    codebases: ["https://x.test"],
    payload,
  }));
  const spec = ReleaseSpec.parse({ version, product: "os", omaha, ...more });
  return { apiVersion: API_VERSION, kind: "Release", metadata: { name: `os-${version}` }, spec };
}
const channel = (name: string, spec: Channel["spec"]): Channel => ({
  ...{ apiVersion: API_VERSION, kind: "Channel", metadata: { name }, spec },
});
const served = (spec: Record<string, unknown> = {}, status?: UpdateGroupStatus): UpdateGroup => {
  const made = group("edge", { channel: "stable", machines: {}, failureThreshold: 2, ...spec });
  return status === undefined ? made : { ...made, status };
};
const offersOf = (
  of: UpdateGroup,
  releases: Release[] = [release("1.1.0")],
  channels = [channel("stable", { release: "os-1.1.0" })],
) => decideOffers({ groups: [of], releases }, channels, NOW + 30_000);

describe("what is offered", () => {
  it("is the target of the group, to those who name the group or its channel", () => {
    expect(offersOf(served())).toMatchObject([
      {
        ...{
          group: "edge",
          tracks: ["edge", "stable"],
          product: "os",
          share: 1,
          threshold: 2,
          validUntil: NOW + 30_000,
        },
        ways: { amd64: [{ release: "os-1.1.0", version: "1.1.0" }], arm64: [{ release: "os-1.1.0" }] },
      },
    ]);
  });

  it("is nothing where the group serves no machines, has no target, or the target no payload", () => {
    expect(offersOf(group("edge", { channel: "stable" }))).toEqual([]);
    expect(offersOf(served(), [])).toEqual([]);
    expect(offersOf(served({ channel: undefined, driver: "sentinel" }))).toEqual([]);
    expect(offersOf(served(), [release("1.1.0", { omaha: undefined })])).toEqual([]);
  });

  it("says until when failures are forgiven, whether an older release may be gone back to, and whom it excludes", () => {
    const of = served({ machines: { downgrade: true, excludedOEMs: ["ami"] } });
    of.metadata.annotations = { [RETRY_MACHINES_ANNOTATION]: timestamp(NOW) };
    expect(offersOf(of)).toMatchObject([{ retriedAt: NOW, downgrade: true, excludedOEMs: ["ami"] }]);
    of.metadata.annotations = { [RETRY_MACHINES_ANNOTATION]: "yesterday" };
    expect(offersOf(of)[0]?.retriedAt).toBeUndefined();
    expect(offersOf(served())[0]?.downgrade).toBeUndefined();
  });

  it("leads over stepping stones of the product, oldest first, as far as they have a payload", () => {
    const releases = [
      release("1.0.5", { steppingStone: true }),
      release("1.0.2", { steppingStone: true }),
      release("1.0.3", { steppingStone: true, product: "other" }),
      release("1.0.4", { steppingStone: true, omaha: undefined }),
      release("1.0.6"),
      release("1.1.0", { updatesFrom: "1.0.5" }),
      release("1.2.0", { steppingStone: true }),
    ];
    const [offer] = offersOf(served(), releases);
    expect(offer?.ways.amd64?.map(({ version }) => version)).toEqual(["1.0.2", "1.0.5", "1.1.0"]);
    expect(offer?.ways.amd64?.at(-1)?.updatesFrom).toBe("1.0.5");
  });

  it("differs by architecture where the channel does", () => {
    const channels = [
      channel("stable", {
        release: "os-1.1.0",
        architectures: [{ architecture: "arm64", release: "os-1.0.6" }],
      }),
    ];
    const [offer] = offersOf(served(), [release("1.1.0"), release("1.0.6")], channels);
    expect(offer?.ways).toMatchObject({ amd64: [{ version: "1.1.0" }], arm64: [{ version: "1.0.6" }] });
  });
});

describe("the share of machines", () => {
  const stages = [
    { name: "canary", nodeSelector: { matchLabels: { canary: "yes" } } },
    { name: "tenth", count: "10%" },
    { name: "half", count: "50%" },
  ];
  const open = (...names: string[]): UpdateGroupStatus => ({
    target: "os-1.1.0",
    stages: names.map((name) => ({
      name: name.replace("!", ""),
      size: 0,
      verified: 0,
      openedAt: timestamp(NOW),
      ...(name.endsWith("!") ? { passedAt: timestamp(NOW) } : {}),
    })),
  });
  it.each<[string, UpdateGroupStatus | undefined, number]>([
    ["none before the group has looked", undefined, 0],
    ["none while a stage of chosen Nodes is open", open("canary"), 0],
    ["that of the open stage", open("canary!", "tenth"), 0.1],
    ["that of the newest open stage", open("canary!", "tenth!", "half"), 0.5],
    ["all, once the last declared stage has passed", open("canary!", "tenth!", "half!"), 1],
    ["none of a new target", { ...open("canary!", "tenth!", "half!"), target: "os-1.0.0" }, 0],
  ])("%s", (_, status, share) => {
    expect(offersOf(served({ stages }, status))[0]?.share).toBe(share);
  });

  it("goes with a threshold of one while the first stage is open", () => {
    expect(offersOf(served({ stages }, open("canary")))[0]?.threshold).toBe(1);
    expect(offersOf(served({ stages }, open("canary!", "tenth")))[0]?.threshold).toBe(2);
  });
});

describe("how it goes on the machines", () => {
  const tally = (more: Partial<Tally>): Tally => ({
    granted: 9,
    good: 0,
    failed: 0,
    failures: [],
    recent: [],
    ...more,
  });
  const decide = (of: UpdateGroup, one: Tally, now = NOW) =>
    decideRollout(
      {
        ...{ group: of, groups: [of], nodes: [], nodeUpdates: [], machines: [], windows: [] },
        channels: new Map([["stable", channel("stable", { release: "os-1.1.0" })]]),
        releases: new Map([["os-1.1.0", release("1.1.0")]]),
        tallies: new Map([["os-1.1.0", one]]),
      },
      now,
    ).groupStatus;
  const failures = ["a", "b"].map((machine) => ({ machine, code: 44, at: NOW - 1000 }));

  it("halts the group for its Nodes, too, and blames the release", () => {
    const status = decide(served(), tally({ failed: 2, failures }));
    expect(status.conditions?.find(({ type }) => type === "Halted")).toMatchObject({ status: "True" });
    expect(status.failures).toMatchObject([
      { node: "a", release: "os-1.1.0", reason: "FellBack" },
      { node: "b", release: "os-1.1.0", reason: "FellBack" },
    ]);
    expect(decide(served(), tally({ failed: 1, failures: failures.slice(1) })).conditions).toContainEqual(
      expect.objectContaining({ type: "Halted", status: "False" }),
    );
  });

  it("passes a stage once one came back, and the soak after the last of them is over", () => {
    const staged = served({ stages: [{ name: "tenth", count: "10%", soak: "10m" }] });
    const before = decide(staged, tally({}));
    const later = NOW + 3_600_000;
    expect(decide({ ...staged, status: before }, tally({}), later).stages?.[0]?.passedAt).toBeUndefined();
    const good = tally({ good: 3, lastGoodAt: later - 300_000 });
    expect(decide({ ...staged, status: before }, good, later).stages?.[0]?.passedAt).toBeUndefined();
    expect(decide({ ...staged, status: before }, good, later + 300_000).stages?.[0]?.passedAt).toBeDefined();
  });

  it("passes a stage of nobody by nothing but a machine on which a person asked", () => {
    const nobody = { nodeSelector: { matchLabels: { [NOBODY_LABEL]: "" } }, soak: "10m" };
    const staged = served({
      stages: [
        { name: "coreupdate-0", ...nobody },
        { name: "half", count: "50%", soak: "10m" },
      ],
    });
    const [later, shareOf] = [NOW + 3_600_000, (of: UpdateGroup) => offersOf(of)[0]?.share];
    const opened = { ...staged, status: decide(staged, tally({})) };
    expect([opened.status.stages?.[0], shareOf(opened)]).toMatchObject([{ openedAt: timestamp(NOW) }, 0]);
    const waits = { ...staged, status: decide(opened, tally({}), later) };
    expect([waits.status.stages?.[0]?.passedAt, shareOf(waits)]).toEqual([undefined, 0]);
    const good = tally({ granted: 1, good: 1, lastGoodAt: later - 600_000 });
    expect(shareOf({ ...staged, status: decide(waits, good, later) })).toBe(0.5);
  });

  it("soaks each stage anew, although none has come back in it yet", () => {
    const stages = ["25%", "50%", "75%"].map((count, n) => ({ name: `s${n}`, count, soak: "10m" }));
    let of = served({ stages });
    const good = tally({ granted: 1, good: 1, lastGoodAt: NOW });
    const shares = [0, 1, 9, 10, 19, 20, 29, 30].map((minute) => {
      of = { ...of, status: decide(of, good, NOW + minute * 60_000) };
      return offersOf(of)[0]?.share;
    });
    expect(shares).toEqual([0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]);
  });
});
