import { expect, test } from "vitest";
import type * as view from "../../console/contract.ts";
import type { JournalEntry } from "../../coordination/records.ts";
import { silentLogger } from "../../ports/log.ts";
import { FakeClock } from "../fake-clock.ts";
import { History } from "./history.ts";

const HOUR = 3_600_000;

function open() {
  const clock = new FakeClock();
  const journal: JournalEntry[] = [];
  const told: view.Activity[] = [];
  const coordination = { readJournal: async (since: number) => journal.filter(({ at }) => at >= since) };
  const history = new History({
    ...{ coordination, clock, log: silentLogger },
    onNew: (entries) => told.push(...entries),
  });
  const write = (message: string, more: Partial<JournalEntry> = {}): void => {
    journal.push({
      ...{ at: clock.now(), uid: "u", node: "n1", group: "web", what: "asked", reason: "Asked", message },
      ...more,
    });
  };
  const messages = () => history.activities(() => true).map(({ message }) => message);
  return { clock, history, told, write, messages };
}

test("each entry is told once, also one that comes late", async () => {
  const { clock, history, told, write, messages } = open();
  await clock.advance(HOUR);
  write("first");
  await history.look();
  await clock.advance(20_000);
  write("third");
  await history.look();
  write("second", { at: clock.now() - 10_000 });
  await clock.advance(3000);
  await history.look();
  expect(told.map(({ message }) => message)).toEqual(["first", "third", "second"]);
  expect(messages()).toEqual(["first", "second", "third"]);
});

test("an entry of a clock that is ahead hides nothing of what comes after it", async () => {
  const { clock, history, write, messages } = open();
  write("from tomorrow", { at: clock.now() + 24 * HOUR });
  await history.look();
  await clock.advance(3000);
  write("now");
  await history.look();
  expect(messages()).toEqual(["now", "from tomorrow"]);
});

test("who asked is what was written down, whatever the sentence says", async () => {
  const { history, told, write } = open();
  write("Paused (by root) (by admin).", { by: "mallory) (by admin" });
  write("It said so (by admin).");
  await history.look();
  expect(told.map(({ by }) => by)).toEqual(["mallory) (by admin", undefined]);
});
