/** Two gateways write at random while etcd's answers are lost or late: what is acknowledged happened once, and all agree. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { Parser } from "../../coordination/parse.ts";
import { openRegistry, type RegistryEvent } from "../../coordination/registry.ts";
import { silentLogger } from "../../ports/log.ts";
import type { Fate } from "../../test/sim/etcd.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import { V2Error } from "./errors.ts";
import { Space } from "./space.ts";
import type { Command } from "./store.ts";
import { Tree } from "./tree.ts";

const SEQUENCES = Number(process.env.SEQUENCES ?? 150);
const path = fc.constantFrom("/a", "/b", "/a/b", "/a/b/c", "/_h");
const expiry = fc.option(fc.constantFrom(2, 20), { nil: undefined });
const compared = {
  prevValue: fc.constantFrom("", "", "x"),
  prevIndex: fc.constantFrom(0n, 0n, 3n),
};
const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      path,
      dir: fc.nat(5).map((n) => n === 0),
      value: fc.constantFrom("x", "y"),
      ...compared,
      prevExist: fc.constantFrom(undefined, undefined, true, false),
      seconds: expiry,
      refresh: fc.constant(false),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("post" as const),
      path,
      dir: fc.constant(false),
      value: fc.constantFrom("x", "y"),
      seconds: expiry,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("delete" as const),
      path,
      dir: fc.boolean(),
      recursive: fc.boolean(),
      ...compared,
    }),
  },
);
const step = fc.record({
  command,
  by: fc.nat(1),
  fates: fc.array(fc.constantFrom<Fate>("ok", "ok", "ok", "lost", "unanswered", "late"), { maxLength: 3 }),
  /** Whether those that were late arrive before it. */
  lands: fc.boolean(),
  passes: fc.constantFrom(0, 0, 0, 1000, 5000),
});

const shown = (tree: Tree): string[] =>
  tree.under(tree.root).map((at) => {
    const node = tree.find(at, 0);
    return node instanceof V2Error
      ? at
      : JSON.stringify([at, node.created, node.modified, node.value, node.expires]);
  });

it(`holds in ${SEQUENCES} sequences`, async () => {
  let late = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), fc.integer(), async (steps, seed) => {
      const led = await LedRoom.create();
      const random = new SeededRandom(seed);
      const common = { name: "s", etcd: led.port, clock: led.clock, random, log: silentLogger };
      const spaces = [new Space(common), new Space(common)];
      const acknowledged: RegistryEvent[] = [];
      for (const { command: drawn, by, fates, lands, passes } of steps) {
        if (lands) for (const land of led.land.splice(0)) land();
        led.pass(passes);
        led.fates = [...fates];
        const asked = (
          "seconds" in drawn
            ? {
                ...drawn,
                expires: drawn.seconds === undefined ? undefined : led.clock.now() + 1000 * drawn.seconds,
              }
            : drawn
        ) as Command;
        try {
          const done = await (spaces[by] as Space).write(asked);
          acknowledged.push(done.event);
        } catch (error) {
          if (error instanceof EtcdUnavailable) continue;
          if (!(error instanceof V2Error)) throw error;
        }
        late += led.land.length;
      }
      for (const land of led.land.splice(0)) land();
      led.fates = [];
      const parser = new Parser(silentLogger);
      const { head, nodes, events } = await openRegistry(led.port, parser, "s", "x");
      const replayed = new Tree();
      for (const [i, event] of events.entries()) {
        expect(event).toMatchObject({ index: i + 1, after: events[i - 1]?.nonce ?? "" });
        replayed.apply(event);
      }
      expect(head).toMatchObject({ index: events.length, nonce: events.at(-1)?.nonce ?? "" });
      const stored = new Tree();
      for (const [at, node] of nodes) stored.put(at, node);
      expect(shown(stored).toSorted()).toEqual(shown(replayed).toSorted());
      expect([stored.count, stored.bytes]).toEqual([replayed.count, replayed.bytes]);
      for (const event of acknowledged)
        expect(events.filter(({ nonce }) => nonce === event.nonce)).toEqual([event]);
      const copies = await Promise.all(
        spaces.map((space) => space.read("/", { recursive: true, quorum: true })),
      );
      expect(copies[0]?.node).toEqual(copies[1]?.node);
      for (const space of spaces) space.close();
    }),
    { numRuns: SEQUENCES },
  );
  expect(late).toBeGreaterThan(0);
}, 60_000);
