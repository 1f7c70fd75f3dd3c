import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import { openEngine } from "../fastpatch/engine.ts";
import { FastPatchError } from "../fastpatch/errors.ts";
import type { TrustRoots } from "../fastpatch/trust.ts";
import {
  instantClock,
  makeRelease,
  memorySource,
  noise,
  SLOT_A,
  smallMachine,
} from "../test/crash/small-machine.ts";
import { target } from "./fake-gateway.ts";
import { lastReason, over, type World, world } from "./fake-world.ts";
import { fastpatchDriver } from "./fastpatch-driver.ts";

const withdrawn = {
  reason: "ImageRefused" as const,
  message: "Unsigned: the key is gone from the trust file.",
};

/** Runs `1.0.0` in A; `2.0.0` is staged in B. */
async function staged(w: World): Promise<void> {
  w.gateway.desired.target = target("2.0.0", "b");
  w.machine.startAgent();
  await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
}

/** Runs `2.0.0` in B, after `1.0.0` in A. */
async function updated(w: World): Promise<void> {
  await staged(w);
  w.gateway.give();
  await w.until(() => over(w));
  w.gateway.grant = undefined;
  w.gateway.drop();
}

describe("what permitted staging and has ended since", () => {
  it("keeps the image from waiting for a grant, until it is permitted again", async () => {
    const w = world();
    await staged(w);
    w.machine.objection = withdrawn;
    await w.until(() => lastReason(w) === "ImageRefused");
    expect(w.gateway.observed.at(-1)?.message).toContain(
      "2.0.0 is staged and may not boot any more: Unsigned",
    );
    expect(w.gateway.observed.at(-1)?.stagedRootHash).toBe("");
    w.machine.objection = undefined;
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
    expect(w.machine.log.filter((act) => act === "staged")).toHaveLength(1);
  });

  it("keeps the agent from asking to commit", async () => {
    const w = world();
    await staged(w);
    w.machine.objection = withdrawn;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn ImageRefused"]);
    expect(w.gateway.received.map((body) => body.case)).not.toContain("commit");
    expect(w.machine.boots).toBe(1);
  });

  it("keeps it from flipping, even after the commit", async () => {
    const w = world();
    await staged(w);
    w.machine.before = (act) => {
      if (act === "arm") w.machine.objection = withdrawn;
    };
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.log).toContain("arm");
    expect(w.machine.log).not.toContain("flip B 1");
    expect(w.machine.armed).toBeUndefined();
    expect(w.gateway.verdicts).toEqual(["Withdrawn ImageRefused"]);
  });

  it("does not close the way back to the release that ran well and still lies in the other slot", async () => {
    const w = world();
    await updated(w);
    w.machine.objection = { reason: "DowngradeRefused", message: "1.0.0 is older than 2.0.0." };
    w.gateway.desired.target = target("1.0.0", "a");
    w.gateway.push();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "a");
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.running).toBe("A");
    expect(w.gateway.verdicts).toEqual(["Updated Updated", "Updated Updated"]);
  });

  it("keeps back such a release where it was overwritten and staged anew", async () => {
    const w = world();
    await updated(w);
    w.gateway.desired.target = target("3.0.0", "c");
    w.gateway.push();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "c");
    w.gateway.desired.target = target("1.0.0", "a");
    w.gateway.push();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "a");
    w.machine.objection = { reason: "DowngradeRefused", message: "1.0.0 is older than 2.0.0." };
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts.at(-1)).toBe("Withdrawn DowngradeRefused");
    expect(w.machine.running).toBe("B");
  });
});

test("the engine's driver objects by the trust file and the consents as they are now", async () => {
  const key = generateKeyPairSync("ed25519");
  const first = await makeRelease("1.0.0", noise(100_000, 1));
  const next = await makeRelease("2.0.0", noise(100_000, 2), { key });
  const id = next.target.signatures[0]?.keyId ?? "";
  let trust: TrustRoots | Error = {
    keys: [{ id, publicKey: key.publicKey }],
    threshold: 1,
    allowUnsigned: true,
  };
  const { disk } = await smallMachine(first);
  const engine = await openEngine({
    disk,
    runningPartition: SLOT_A,
    clock: instantClock(),
    source: memorySource(next.objects),
    trust: async () => {
      if (trust instanceof Error) throw trust;
      return trust;
    },
  });
  const driver = fastpatchDriver(engine, "1.0.0");
  const { image, manifest, signatures, ...rest } = next.target;
  const blob = ({ urls, size, sha256 }: typeof image) => ({ urls: [...urls], size: BigInt(size), sha256 });
  const asked = {
    ...target("2.0.0", next.target.rootHash),
    ...rest,
    image: { $typeName: "slipway.agent.v1.Blob" as const, ...blob(image) },
    manifest: { $typeName: "slipway.agent.v1.Blob" as const, ...blob(manifest) },
    signatures: signatures.map(({ keyId, signature }) => ({
      $typeName: "slipway.agent.v1.Signature" as const,
      keyId,
      signature: Uint8Array.from(signature),
    })),
  };
  const consents = { allowUnsigned: false, floor: "", allowDowngradeTo: "" };
  const objection = async (over: Partial<typeof consents> = {}): Promise<string | undefined> => {
    const cause = await driver.objection(asked, { ...consents, ...over });
    return cause && `${cause.reason} ${cause.message}`;
  };
  await driver.stage(asked, {
    ...consents,
    signal: AbortSignal.timeout(60_000),
    rateLimit: 0,
    onProgress() {},
  });
  expect(await objection()).toBeUndefined();
  expect(await objection({ floor: "3.0.0", allowDowngradeTo: "2.0.0" })).toBeUndefined();
  expect(await objection({ floor: "3.0.0" })).toMatch(/^DowngradeRefused .*older than 3\.0\.0/);
  trust = { keys: [], threshold: 1, allowUnsigned: true };
  expect(await objection({ allowUnsigned: true })).toBeUndefined();
  expect(await objection()).toMatch(/^ImageRefused Unsigned: 0 of 1 signatures/);
  trust = { ...trust, allowUnsigned: false };
  expect(await objection({ allowUnsigned: true })).toMatch(/^ImageRefused Unsigned/);
  trust = new FastPatchError("TrustInvalid", "the trust file can't be read (gone)");
  expect(await objection({ allowUnsigned: true })).toMatch(/^ImageRefused TrustInvalid: the trust file/);
});
