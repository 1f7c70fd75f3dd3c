import { describe, expect, test } from "vitest";
import type { Channel } from "../../api/channel.ts";
import { API_VERSION } from "../../api/meta.ts";
import type { Release } from "../../api/release.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../../api/update-group.ts";
import { decideChannel, resolveTarget } from "./policy.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");

function channelOf(spec: Channel["spec"], status?: Channel["status"]): Channel {
  const channel = {
    apiVersion: API_VERSION,
    kind: "Channel",
    metadata: { name: "stable", generation: 2 },
    spec,
  };
  return status === undefined ? channel : { ...channel, status };
}

function releases(...names: string[]): Map<string, Release> {
  const blob = { urls: ["https://images.example/x"], size: 1, sha256: "0".repeat(64) };
  return new Map(
    names.map((name) => [
      name,
      {
        apiVersion: API_VERSION,
        kind: "Release",
        metadata: { name },
        spec: {
          version: "1.0.0",
          product: "os",
          steppingStone: false,
          payloads: [
            {
              architecture: name.endsWith("arm") ? ("arm64" as const) : ("amd64" as const),
              kind: "FastPatch" as const,
              image: blob,
              manifest: blob,
              rootHash: "0".repeat(64),
              signatures: [],
            },
          ],
        },
      },
    ]),
  );
}

function groupOf(spec: Partial<UpdateGroupSpec>): Pick<UpdateGroup, "spec"> {
  return { spec: UpdateGroupSpec.parse({ nodeSelector: {}, windows: "Always", ...spec }) };
}

describe("a channel", () => {
  test("records a promotion once", () => {
    const first = decideChannel(channelOf({ release: "a" }), releases("a", "b"), NOW);
    expect(first).toMatchObject({
      current: "a",
      promotions: [{ release: "a", time: "2026-11-23T12:00:00Z" }],
    });
    expect(first.previous).toBeUndefined();
    expect(decideChannel(channelOf({ release: "a" }, first), releases("a", "b"), NOW + 1e6)).toEqual(first);
    const second = decideChannel(channelOf({ release: "b" }, first), releases("a", "b"), NOW + 1e6);
    expect(second).toMatchObject({ current: "b", previous: "a" });
  });

  test("keeps the last twenty promotions", () => {
    let status: Channel["status"];
    for (let index = 0; index < 30; index++) {
      status = decideChannel(channelOf({ release: `r${index}` }, status), releases(`r${index}`), NOW);
    }
    expect(status?.promotions).toHaveLength(20);
    expect(status?.promotions?.[0]?.release).toBe("r29");
  });

  test("that points at no release is not accepted, and promotes nothing", () => {
    const before = decideChannel(channelOf({ release: "a" }), releases("a"), NOW);
    const status = decideChannel(channelOf({ release: "b" }, before), releases("a"), NOW);
    expect(status.current).toBeUndefined();
    expect(status.previous).toBe("a");
    expect(status.conditions).toMatchObject([
      { type: "Accepted", status: "False", reason: "ReleaseNotFound" },
    ]);
  });

  test("names the release of an architecture that is missing", () => {
    const spec: Channel["spec"] = { release: "a", architectures: [{ architecture: "arm64", release: "b" }] };
    const status = decideChannel(channelOf(spec), releases("a"), NOW);
    expect(status.current).toBe("a");
    expect(status.conditions?.[0]?.message).toContain("no Release b");
  });
});

describe("the target of a group", () => {
  const channels = new Map([
    ["stable", channelOf({ release: "a", architectures: [{ architecture: "arm64", release: "a-arm" }] })],
  ]);
  const known = releases("a", "a-arm", "pinned");
  const target = (spec: Partial<UpdateGroupSpec>, architecture?: string): string => {
    const found = resolveTarget(groupOf(spec), channels, known, architecture);
    return "spec" in found ? found.metadata.name : found.reason;
  };

  test.each([
    ["the channel's release", { channel: "stable" }, undefined, "a"],
    ["the release of the node's architecture", { channel: "stable" }, "arm64", "a-arm"],
    ["the pinned release", { release: "pinned" }, "amd64", "pinned"],
    ["none without a payload for the architecture", { release: "pinned" }, "arm64", "NoPayload"],
    ["none where the channel is missing", { channel: "edge" }, undefined, "ChannelNotFound"],
    ["none where the release is missing", { release: "b" }, undefined, "ReleaseNotFound"],
    ["none where both are set", { release: "a", channel: "stable" }, undefined, "InvalidSpec"],
    ["none where neither is set", {}, undefined, "NoTarget"],
    ["none for the driver sentinel", { driver: "sentinel" as const }, undefined, "NoTarget"],
  ])("is %s", (_, spec, architecture, expected) => {
    expect(target(spec, architecture)).toBe(expected);
  });
});
