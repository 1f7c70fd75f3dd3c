import { describe, expect, test } from "vitest";
import {
  installOptions,
  instantClock,
  makeRelease,
  memorySource,
  noise,
  SLOT_A,
  scattered,
  smallMachine,
  UNSIGNED,
} from "../test/crash/small-machine.ts";
import { openEngine } from "./engine.ts";
import { encodeManifest, Runs } from "./manifest.ts";

const KIB = 1024;
const data = noise(8000 * KIB, 3);
const old = await makeRelease("1.0.0", data);
const changed = scattered(data, 0.02, 4);

/** The manifest of `release` as a liar has it: the same hashes, other runs, as long as the true one. */
async function withRuns(release: typeof old, runs: Runs): Promise<Buffer> {
  const evil = await encodeManifest({ ...release.manifest, runs }, old.manifest);
  const padded = Buffer.alloc(release.target.manifest.size);
  evil.copy(padded);
  return padded;
}

const columns = (runs: Runs): number[] =>
  [...runs].flatMap(({ first, count, length }) => [first, count, length]);

/** Two runs of equally many blocks change places: each mirror's bytes are then those of other blocks. */
function swapped(runs: Runs): Runs {
  const values = columns(runs);
  const all = [...runs];
  const b = all.findIndex(
    (run, index) => index > 0 && run.count === all[0]?.count && run.length === all[0].length,
  );
  [values[0], values[b * 3]] = [values[b * 3] ?? 0, values[0] ?? 0];
  return new Runs(Uint32Array.from(values));
}

/** Another size of the image's object than the release says. */
function shorter(runs: Runs): Runs {
  const values = columns(runs);
  values[values.length - 1] = (values.at(-1) ?? 0) - 1;
  return new Runs(Uint32Array.from(values));
}

describe("a manifest of which only the head was fetched", () => {
  test.each([
    ["swaps two runs", swapped],
    ["gives the image another size", shorter],
  ])("that %s is not believed: no honest mirror is dropped for it", async (_, lie) => {
    const next = await makeRelease("2.0.0", changed, {
      base: old.manifest,
      mirrors: ["liar", "honest"],
    });
    const evil = await withRuns(next, lie(next.manifest.runs));
    const source = memorySource(next.objects, (url, bytes, { offset, length }) =>
      url === "http://liar/2.0.0/manifest.zst" ? evil.subarray(offset, offset + length) : bytes,
    );
    const { disk, bytes, slots } = await smallMachine(old, { slotBytes: 9 * KIB * KIB });
    const clock = instantClock();
    const engine = await openEngine({ disk, runningPartition: SLOT_A, clock, source, trust: UNSIGNED });
    await engine.install(next.target, installOptions());
    expect(bytes.subarray(slots.B.offset).subarray(0, next.image.length).equals(next.image)).toBe(true);
    const asked = source.requests.filter(({ url }) => url.endsWith("manifest.zst")).map(({ url }) => url);
    expect(asked).toContain("http://honest/2.0.0/manifest.zst");
  });
});
