import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createMetrics } from "./metrics.ts";
import { WorkQueue } from "./queue.ts";
import { VirtualClock } from "./virtual-clock.ts";

const KEYS = ["a", "b", "c"] as const;

function makeQueue(limit?: number): { clock: VirtualClock; queue: WorkQueue } {
  const clock = new VirtualClock();
  const metrics = createMetrics().queue("test");
  return { clock, queue: new WorkQueue({ clock, metrics, ...(limit === undefined ? {} : { limit }) }) };
}

const step = fc.oneof(
  fc.record({ do: fc.constant("add" as const), key: fc.constantFrom(...KEYS) }),
  fc.record({
    do: fc.constant("later" as const),
    key: fc.constantFrom(...KEYS),
    ms: fc.integer({ min: 1, max: 50 }),
  }),
  fc.record({ do: fc.constant("retry" as const), key: fc.constantFrom(...KEYS) }),
  fc.record({ do: fc.constant("take" as const) }),
  fc.record({ do: fc.constant("done" as const), pick: fc.nat() }),
  fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 60 }) }),
);

test("no key is with two workers, none is lost, and none comes more often than it was asked for", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { clock, queue } = makeQueue();
      const working: string[] = [];
      /** Asked for and not yet given out since. */
      const owed = new Set<string>();
      let asked = 0;
      let given = 0;
      const receive = (key: string | undefined): void => {
        if (key === undefined) return;
        expect(working).not.toContain(key);
        working.push(key);
        owed.delete(key);
        given += 1;
      };
      for (const next of steps) {
        if (next.do === "add") {
          queue.add(next.key);
          owed.add(next.key);
          asked += 1;
        } else if (next.do === "later") {
          queue.addAfter(next.key, next.ms);
          owed.add(next.key);
          asked += 1;
        } else if (next.do === "retry") {
          queue.retry(next.key);
          owed.add(next.key);
          asked += 1;
        } else if (next.do === "take") {
          if (queue.length > 0) receive(await queue.take());
        } else if (next.do === "done") {
          const [key] = working.splice(next.pick % Math.max(1, working.length), 1);
          if (key !== undefined) queue.done(key);
        } else {
          await clock.advance(next.ms);
        }
        expect(given).toBeLessThanOrEqual(asked);
      }
      for (const key of working.splice(0)) queue.done(key);
      await clock.advance(1_000_000);
      while (queue.length > 0) {
        const key = await queue.take();
        receive(key);
        for (const taken of working.splice(0)) queue.done(taken);
      }
      expect([...owed]).toEqual([]);
      expect(clock.pending).toBe(0);
    }),
  );
});

test("a key added while it is worked on comes again, once, after it is done", async () => {
  const { queue } = makeQueue();
  queue.add("a");
  expect(await queue.take()).toBe("a");
  queue.add("a");
  queue.add("a");
  expect(queue.length).toBe(0);
  queue.done("a");
  expect(await queue.take()).toBe("a");
  queue.done("a");
  expect(queue.length).toBe(0);
});

test("a waiting worker gets the key; keys come in the order in which they were added", async () => {
  const { queue } = makeQueue();
  const first = queue.take();
  queue.add("a");
  queue.add("b");
  queue.add("c");
  expect([await first, await queue.take(), await queue.take()]).toEqual(["a", "b", "c"]);
});

test("the back-off of a key doubles from 5 ms to 1000 s, and forget starts it anew", async () => {
  const { clock, queue } = makeQueue();
  const failAfter = async (milliseconds: number): Promise<void> => {
    queue.retry("a");
    await clock.advance(milliseconds - 1);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    queue.done((await queue.take()) ?? "");
  };
  for (let wait = 5; wait < 1_000_000; wait *= 2) await failAfter(wait);
  await failAfter(1_000_000);
  await failAfter(1_000_000);
  queue.forget("a");
  await failAfter(5);
});

test("of two times the earlier counts, and a time beyond Node's timers is cut to a day", async () => {
  const { clock, queue } = makeQueue();
  queue.addAfter("a", 100);
  queue.addAfter("a", 10);
  queue.addAfter("a", 1000);
  queue.addAfter("b", 1e12);
  await clock.advance(10);
  expect(queue.length).toBe(1);
  expect(await queue.take()).toBe("a");
  queue.done("a");
  await clock.advance(86_400_000);
  expect(await queue.take()).toBe("b");
});

test("a full queue refuses, and a closed one gives undefined to all who wait", async () => {
  const { queue, clock } = makeQueue(2);
  expect([queue.add("a"), queue.add("b"), queue.add("c"), queue.add("a")]).toEqual([true, true, false, true]);
  queue.addAfter("d", 50);
  queue.close();
  expect(await queue.take()).toBeUndefined();
  expect(queue.add("a")).toBe(false);
  expect(clock.pending).toBe(0);
});
