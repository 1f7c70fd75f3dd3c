import { expect, it } from "vitest";
import { planted } from "./planted.ts";
import { runSchedule } from "./run.ts";
import { Violation } from "./violation.ts";

/** Schedules that a planted bug may survive. */
const SEEDS = 25;

it.each(planted)("the simulation finds a breach of rule $rule: $bug", async ({ rule, bug: _bug, ...options }) => {
  const found = new Set<number>();
  for (let seed = 1; seed <= SEEDS && !found.has(rule); seed++) {
    try {
      await runSchedule(seed, options);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      found.add(error.rule);
    }
  }
  expect([...found]).toContain(rule);
});

it("finds nothing in the same worlds without the bugs", async () => {
  for (const { plan, settings } of planted) {
    await runSchedule(1, { ...(plan && { plan }), ...(settings && { settings }) });
  }
});

it("covers every rule", () => {
  expect([...new Set(planted.map(({ rule }) => rule))]).toEqual(Array.from({ length: 13 }, (_, index) => index + 1));
});
