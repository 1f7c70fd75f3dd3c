/** Frames and stages: what CoreUpdate's rollouts become, and that they never run ahead. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseDuration } from "../../api/duration.ts";
import { Stage, type UpdateGroup } from "../../api/update-group.ts";
import { linear } from "../../test/coreupdate/client.ts";
import {
  durationText,
  foreignStages,
  frozen,
  type OurStage,
  rolloutOf,
  stagesAt,
  stagesOf,
  thawed,
} from "./rollout.ts";
import type { Frame } from "./wire.ts";

const frames = (list: { duration: string; percent: number }[]): Frame[] =>
  list.map(({ duration, percent }) => ({ duration: Number(duration), percent }));

function groupOf(stages: readonly OurStage[], passed = 0): UpdateGroup {
  const at = "2027-01-15T08:00:00Z";
  const status = {
    stages: stages.map(({ name }, i) => ({ name, ...(i < passed ? { openedAt: at, passedAt: at } : {}) })),
  };
  return { spec: { stages }, status } as unknown as UpdateGroup;
}

/** The percentage at each second of a change, and then 100. */
function shareAt(list: readonly { percent: number; seconds: number }[], second: number): number {
  let end = 0;
  for (const { percent, seconds } of list) {
    end += seconds;
    if (second < end) return percent;
  }
  return 100;
}

/** Many begin with frames of nobody. */
const step = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 12, noNaN: true }));
const rollouts = fc
  .array(fc.record({ step, duration: fc.nat({ max: 5000 }) }), {
    maxLength: 60,
  })
  .map((list) => {
    let percent = 0;
    const rising = list.map(({ step, duration }) => ({
      duration,
      percent: (percent = Math.min(100, percent + step)),
    }));
    return [...rising, { duration: 0, percent: 100 }];
  });

describe("frames become stages", () => {
  it("of the same percentages where there are few", () => {
    expect(stagesOf(frames(linear(400, 100)))).toEqual(
      ["25", "50", "75"].map((n) => ({ name: `coreupdate-${n}`, count: `${n}%`, soak: "1m40s" })),
    );
    expect(stagesOf([{ percent: 100, duration: 0 }])).toEqual([]);
  });

  it("that are never ahead of them, at most 16, as the schema has them, and no longer", () => {
    fc.assert(
      fc.property(rollouts, (asked) => {
        const stages = stagesOf(asked);
        expect(stages.length).toBeLessThanOrEqual(16);
        for (const stage of stages) expect(Stage.safeParse(stage).success).toBe(true);
        const counts = stages.map(({ count }) => Number.parseInt(String(count ?? 0), 10));
        expect(counts).toEqual([...new Set(counts)].toSorted((a, b) => a - b));
        const ours = stages.map(({ soak }, i) => ({
          percent: counts[i] ?? 0,
          seconds: parseDuration(soak) / 1000,
        }));
        const theirs = asked.map(({ percent, duration }) => ({ percent, seconds: duration }));
        const ends = theirs.reduce((sum, { seconds }) => sum + seconds, 0);
        for (let second = 0; second <= ends; second += Math.max(1, Math.floor(ends / 50))) {
          // A stage of somebody has at least 1 %.
          const there = shareAt(theirs, second);
          expect(shareAt(ours, second)).toBeLessThanOrEqual(there === 0 ? 0 : Math.max(1, there + 1e-6));
        }
        expect(foreignStages({ spec: { stages } } as UpdateGroup)).toEqual([]);
        const [mine, full] = [ours, theirs.filter(({ percent }) => percent + 1e-6 < 100)].map((list) =>
          list.reduce((sum, { seconds }) => sum + seconds, 0),
        );
        expect(mine).toBe(full);
      }),
    );
  });

  it("and back", () => {
    const stages = stagesOf(frames(linear(400, 100)));
    const shown = [25, 50, 75].map((percent) => ({ percent, duration: 100 }));
    const last = { percent: 100, duration: 0 };
    expect(rolloutOf(groupOf(stages), undefined)).toEqual({
      frames: [...shown, last],
      active: true,
      percent: 25,
    });
    expect(rolloutOf(groupOf(stages, 3), undefined)).toMatchObject({ active: false, percent: 100 });
    expect(rolloutOf(groupOf(stagesAt(30)), undefined)).toEqual({ frames: [], active: false, percent: 30 });
    expect(rolloutOf(groupOf(stagesAt(0)), undefined)).toEqual({ frames: [], active: false, percent: 0 });
    expect(rolloutOf(groupOf([]), undefined)).toEqual({ frames: [], active: false, percent: 100 });
  });
});

it("a rollout that was stopped anywhere goes on as it was", () => {
  fc.assert(
    fc.property(rollouts, fc.nat({ max: 16 }), (asked, passed) => {
      const stages = stagesOf(asked);
      const group = groupOf(stages, passed);
      const before = rolloutOf(group, undefined);
      const stopped = frozen(group);
      if (passed >= stages.length) {
        expect(stopped).toBeUndefined();
        return;
      }
      if (stopped === undefined) throw new Error("it goes on");
      const held = groupOf(stopped.stages, passed);
      expect(rolloutOf(held, stopped.remembered)).toEqual({ ...before, active: false });
      expect(thawed(held, stopped.remembered)).toEqual(stages);
    }),
  );
});

it("a duration is written as the API reads it", () => {
  fc.assert(
    fc.property(fc.nat({ max: 99_999 * 3600 - 1 }), (seconds) => {
      expect(parseDuration(durationText(seconds))).toBe(seconds * 1000);
    }),
  );
  expect(durationText(0)).toBe("0s");
  expect(durationText(1e12)).toBe("99999h");
});
