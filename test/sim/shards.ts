/** The schedules of the tests, in shards that run side by side. */
import { expect, it } from "vitest";
import { runSchedule } from "./run.ts";

/** Schedules in one shard, and in one test of it. */
const SHARD = 250;
const BATCH = 10;
/** For one batch, ms: a machine that is busy with other tests takes several times as long as an idle one. */
const PATIENCE = 120_000;

/** Shard `index`, from 0: each seed once; what ends a schedule names its seed. */
export function shard(index: number): void {
  for (let batch = 0; batch < SHARD; batch += BATCH) {
    const first = 1 + index * SHARD + batch;
    it(`holds the rules in schedules ${first} to ${first + BATCH - 1}`, { timeout: PATIENCE }, async () => {
      let faults = 0;
      for (let seed = first; seed < first + BATCH; seed++) {
        faults += (await named(seed)).faults;
      }
      expect(faults).toBeGreaterThan(BATCH);
    });
  }
}

async function named(seed: number): ReturnType<typeof runSchedule> {
  try {
    return await runSchedule(seed);
  } catch (error) {
    throw new Error(`npm run sim -- --seed ${seed} --verbose: ${String(error)}`, { cause: error });
  }
}
