import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import {
  installOptions,
  instantClock,
  labelOf,
  makeRelease,
  memorySource,
  noise,
  SLOT_A,
  scattered,
  smallMachine,
  UNSIGNED,
} from "../test/crash/small-machine.ts";
import { type Engine, openEngine } from "./engine.ts";
import type { Source } from "./source.ts";
import { SourceError } from "./source.ts";
import type { TrustRoots } from "./trust.ts";

const KIB = 1024;
const data = noise(600 * KIB, 1);
const first = await makeRelease("1.0.0", data);

async function machine(source: Source, trust = UNSIGNED, sectorSize: 512 | 4096 = 512) {
  const small = await smallMachine(first, { sectorSize });
  const clock = instantClock();
  const engine = await openEngine({ disk: small.disk, runningPartition: SLOT_A, clock, source, trust });
  const slotB = (): Buffer =>
    small.bytes.subarray(small.slots.B.offset, small.slots.B.offset + small.slots.B.size);
  return { ...small, clock, engine, slotB };
}

async function bits(engine: Engine): Promise<string[]> {
  return (await engine.bootControl.slots()).map(
    ({ priority, tries, successful }) => `${priority}.${tries}.${successful ? 1 : 0}`,
  );
}

describe("install", () => {
  test.each([512, 4096] as const)(
    "stages an image with sectors of %i bytes; the next boot does not change",
    async (sectorSize) => {
      const next = await makeRelease("2.0.0", noise(500 * KIB + 123, 2));
      const { engine, slotB } = await machine(memorySource(next.objects), UNSIGNED, sectorSize);
      const phases = new Set<string>();
      const result = await engine.install(
        next.target,
        installOptions({ onProgress: ({ phase }) => phases.add(phase) }),
      );
      expect(slotB().subarray(0, next.image.length).equals(next.image)).toBe(true);
      expect(await engine.labels()).toEqual({ A: labelOf(first), B: labelOf(next) });
      expect(await bits(engine)).toEqual(["2.0.1", "0.0.0"]);
      expect([...phases]).toEqual(["Fetching", "Verifying"]);
      expect(result.readBack).toBe("direct");
      expect(result.fetchedBytes).toBe(next.built.image.size + next.built.manifest.size);
      expect(result.reusedBytes).toBe(0);
    },
  );

  test("copies what either slot has and fetches only what changed", async () => {
    const big = noise(4 * KIB * 2000, 3);
    const old = await makeRelease("1.0.0", big);
    const changed = scattered(big, 0.02, 4);
    const next = await makeRelease("2.0.0", changed, { base: old.manifest });
    const small = await smallMachine(old, { slotBytes: 9 * KIB * KIB });
    const source = memorySource(next.objects);
    const engine = await openEngine({
      disk: small.disk,
      runningPartition: SLOT_A,
      clock: instantClock(),
      source,
      trust: UNSIGNED,
    });
    const result = await engine.install(next.target, installOptions());
    let changedBytes = 0;
    for (let at = 0; at < big.length; at += 4096) {
      if (!big.subarray(at, at + 4096).equals(changed.subarray(at, at + 4096))) changedBytes += 4096;
    }
    expect(changedBytes).toBeGreaterThan(100 * KIB);
    expect(result.fetchedBytes).toBe(source.served);
    expect(result.fetchedBytes).toBeLessThan(1.1 * changedBytes);
    expect(result.reusedBytes).toBe(big.length - changedBytes);
    // Manifest head and one range of the object.
    expect(source.requests.length).toBeLessThanOrEqual(3);
    expect(small.bytes.subarray(small.slots.B.offset).subarray(0, next.image.length).equals(next.image)).toBe(
      true,
    );
  });

  test("resumes after an abort from what the slot holds", async () => {
    const next = await makeRelease("2.0.0", noise(800 * KIB, 5));
    const abort = new AbortController();
    const source = memorySource(next.objects);
    const { engine, slotB } = await machine(source);
    const cut = engine.install(
      next.target,
      installOptions({
        signal: abort.signal,
        onProgress: ({ done }) => {
          if (done > 500 * KIB) abort.abort(new Error("power button"));
        },
      }),
    );
    await expect(cut).rejects.toThrow("power button");
    expect((await engine.labels()).B).toBeUndefined();
    const before = source.served;
    const result = await engine.install(next.target, installOptions());
    expect(source.served - before).toBeLessThan(400 * KIB);
    expect(result.reusedBytes).toBeGreaterThanOrEqual(500 * KIB);
    expect(slotB().subarray(0, next.image.length).equals(next.image)).toBe(true);
  });

  test("finds a block of the passive slot at another place, even where the copy overwrites it first", async () => {
    const next = await makeRelease("2.0.0", noise(800 * KIB, 6));
    const shifted = await makeRelease("3.0.0", Buffer.concat([noise(4 * KIB, 7), noise(800 * KIB, 6)]));
    const source = memorySource(new Map([...next.objects, ...shifted.objects]));
    const { engine, slotB } = await machine(source);
    await engine.install(next.target, installOptions());
    const result = await engine.install(shifted.target, installOptions());
    expect(result.reusedBytes).toBeGreaterThan(0);
    expect(slotB().subarray(0, shifted.image.length).equals(shifted.image)).toBe(true);
  });

  test("a labelled slot whose blocks rotted is found out, and healed by the next try", async () => {
    const next = await makeRelease("2.0.0", noise(800 * KIB, 16));
    const { engine, slotB } = await machine(memorySource(next.objects));
    await engine.install(next.target, installOptions());
    slotB()[100 * KIB] = (slotB()[100 * KIB] ?? 0) ^ 1;
    await expect(engine.install(next.target, installOptions())).rejects.toMatchObject({
      code: "ReadBackMismatch",
      message: expect.stringContaining("block 25"),
    });
    expect((await engine.labels()).B).toBeUndefined();
    const healed = await engine.install(next.target, installOptions());
    expect(healed.reusedBytes).toBeGreaterThan(500 * KIB);
    expect(slotB().subarray(0, next.image.length).equals(next.image)).toBe(true);
  });

  test("drops a mirror that lies, and names all of them where none is honest", async () => {
    const next = await makeRelease("2.0.0", noise(800 * KIB, 8), { mirrors: ["liar", "honest"] });
    const lies = (url: string, bytes: Buffer): Buffer => {
      const copy = Buffer.from(bytes);
      if (url.includes("liar") && url.endsWith("image.zst")) copy[300_000] = (copy[300_000] ?? 0) ^ 1;
      return copy;
    };
    const { engine, slotB } = await machine(memorySource(next.objects, lies));
    await engine.install(next.target, installOptions());
    expect(slotB().subarray(0, next.image.length).equals(next.image)).toBe(true);

    const other = await machine(
      memorySource(next.objects, (url, bytes) => lies(url.replace("honest", "liar"), bytes)),
    );
    const before = Buffer.from(
      other.bytes.subarray(other.slots.A.offset, other.slots.A.offset + other.slots.A.size),
    );
    await expect(other.engine.install(next.target, installOptions())).rejects.toMatchObject({
      code: "SourcesFailed",
      message: expect.stringMatching(/http:\/\/liar.*wrong bytes.*http:\/\/honest.*wrong bytes/s),
    });
    expect((await other.engine.labels()).B).toBeUndefined();
    expect(await bits(other.engine)).toEqual(["2.0.1", "0.0.0"]);
    expect(
      before.equals(other.bytes.subarray(other.slots.A.offset, other.slots.A.offset + other.slots.A.size)),
    ).toBe(true);
  });

  test.each(["status", "tooShort", "stalled", "network"] as const)(
    "tries again after %s, a bounded number of times",
    async (kind) => {
      const next = await makeRelease("2.0.0", noise(100 * KIB, 9));
      let failures = 0;
      const source = memorySource(next.objects, (_url, bytes) => {
        if (++failures < 3) throw new SourceError(kind, "not now");
        return bytes;
      });
      const { engine, clock } = await machine(source);
      await engine.install(next.target, installOptions());
      expect(clock.waited).toBe(3_000);

      const dead = memorySource(next.objects, () => {
        throw new SourceError(kind, "never");
      });
      const { engine: lost } = await machine(dead);
      await expect(lost.install(next.target, installOptions())).rejects.toMatchObject({
        code: "SourcesFailed",
      });
      expect(dead.requests.length).toBe(4);
    },
  );

  test("reads one stream from a mirror that ignores ranges", async () => {
    const next = await makeRelease("2.0.0", Buffer.concat([data, noise(100 * KIB, 10)]));
    const source = memorySource(next.objects, (_url, bytes, { offset }) => {
      if (offset > 0) throw new SourceError("rangeIgnored", "whole objects only");
      return bytes;
    });
    const { engine, slotB } = await machine(source);
    const result = await engine.install(next.target, installOptions());
    expect(result.reusedBytes).toBeGreaterThan(500 * KIB);
    expect(slotB().subarray(0, next.image.length).equals(next.image)).toBe(true);
  });

  test("keeps to the rate limit", async () => {
    const next = await makeRelease("2.0.0", noise(800 * KIB, 11));
    const { engine, clock } = await machine(memorySource(next.objects));
    await engine.install(next.target, installOptions({ rateLimit: 100 * KIB }));
    expect(clock.waited).toBeGreaterThan(7_000);
    expect(clock.waited).toBeLessThan(10_000);
  });

  test("refuses before anything is written", async () => {
    const key = generateKeyPairSync("ed25519");
    const next = await makeRelease("2.0.0", noise(100 * KIB, 12), { key });
    const trusted: TrustRoots = {
      keys: [{ id: next.target.signatures[0]?.keyId ?? "", publicKey: key.publicKey }],
      threshold: 1,
      allowUnsigned: true,
    };
    const { engine, bytes } = await machine(memorySource(next.objects), async () => trusted);
    const before = Buffer.from(bytes);
    const refused = async (target: object, code: string, options = {}): Promise<void> => {
      await expect(
        engine.install({ ...next.target, ...target }, installOptions({ allowUnsigned: false, ...options })),
      ).rejects.toMatchObject({ code, refused: true });
    };
    await refused({ signatures: [] }, "Unsigned");
    await refused({ version: "2.0.1" }, "SignatureInvalid", { allowUnsigned: true });
    await refused({}, "DowngradeRefused", { floor: "2.1.0" });
    await refused({ updatesFrom: "1.5.0" }, "NotReachable");
    await refused({ product: "other", signatures: [] }, "WrongProduct", { allowUnsigned: true });
    await refused({ version: "2\nroot-hash: 0", signatures: [] }, "TargetInvalid", { allowUnsigned: true });
    const large = await makeRelease("2.0.0", noise(1100 * KIB, 13));
    const { engine: small } = await machine(memorySource(large.objects));
    await expect(small.install(large.target, installOptions())).rejects.toMatchObject({
      code: "SlotTooSmall",
    });
    expect(bytes.equals(before)).toBe(true);

    await engine.install(next.target, installOptions({ floor: "2.1.0", allowDowngradeTo: "2.0.0" }));
  });

  test("refuses while the running slot is not marked good, and a second install at once", async () => {
    const next = await makeRelease("2.0.0", noise(100 * KIB, 14));
    const { engine, bytes, disk } = await machine(memorySource(next.objects));
    const both = [1, 2].map(() => engine.install(next.target, installOptions()));
    const outcomes = await Promise.allSettled(both);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);

    await engine.bootControl.setNext("B", 1);
    const b = await openEngine({
      disk,
      runningPartition: (await engine.bootControl.slots())[1]?.partition ?? "",
      clock: instantClock(),
      source: memorySource(next.objects),
      trust: UNSIGNED,
    });
    const before = Buffer.from(bytes);
    await expect(b.install(next.target, installOptions())).rejects.toMatchObject({ code: "RunningNotGood" });
    expect(bytes.equals(before)).toBe(true);
  });

  test("a write that the disk lost is found by the read-back", async () => {
    const next = await makeRelease("2.0.0", noise(600 * KIB, 15));
    const small = await smallMachine(first);
    const lossy = {
      ...small.disk,
      write: async (offset: number, bytes: Uint8Array) => {
        if (offset !== small.slots.B.offset + 256 * KIB) await small.disk.write(offset, bytes);
      },
    };
    const engine = await openEngine({
      disk: lossy,
      runningPartition: SLOT_A,
      clock: instantClock(),
      source: memorySource(next.objects),
      trust: UNSIGNED,
    });
    await expect(engine.install(next.target, installOptions())).rejects.toMatchObject({
      code: "ReadBackMismatch",
    });
    expect((await engine.labels()).B).toBeUndefined();
  });
});
