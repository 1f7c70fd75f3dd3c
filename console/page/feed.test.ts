import { expect, test } from "vitest";
import { Announcer } from "./announce.ts";
import { FakeTimers } from "./fake-timers.ts";
import { group } from "./fake-views.ts";
import { Feed, machinesPath, type Stream, worst } from "./feed.ts";
import { Model } from "./model.ts";

/** A stream whose faults a test makes: a browser reports none of them when it is told to. */
class FakeStream implements Stream {
  closed = false;
  readonly takes = new Map<string, (data: string) => void>();
  open: () => void = () => {};
  error: () => void = () => {};
  on(name: string, take: (data: string) => void): void {
    this.takes.set(name, take);
  }
  onOpen(run: () => void): void {
    this.open = run;
  }
  onError(run: () => void): void {
    this.error = run;
  }
  close(): void {
    this.closed = true;
  }
  say(name: string, data: object): void {
    this.takes.get(name)?.(JSON.stringify(data));
  }
}

function start() {
  const timers = new FakeTimers();
  const model = new Model();
  const streams: FakeStream[] = [];
  let refused = 0;
  const feed = new Feed({
    ...{ model, timers, path: "events" },
    whyNot: async () => {
      refused += 1;
      return "RBAC does not allow it.";
    },
    open: () => {
      const stream = new FakeStream();
      streams.push(stream);
      return stream;
    },
  });
  const last = (): FakeStream => streams.at(-1) as FakeStream;
  return { timers, model, streams, feed, last, refusals: () => refused };
}

test("what comes between two frames is taken in with the next one", () => {
  const { timers, model, last, feed } = start();
  last().say("snapshot", { topic: "groups", items: [group("a")], begin: true, end: true });
  last().say("change", { changes: { groups: { put: [group("b")], gone: [] } } });
  expect(model.groups.value).toBeUndefined();
  expect(feed.link.value).toEqual({ state: "live" });
  timers.paint();
  expect(model.groups.value?.size).toBe(2);
});

test("silence is a loss since the last word, and the stream is opened again", () => {
  const { timers, feed, last, streams } = start();
  last().say("freshness", { asOf: "2026-11-27T00:00:00Z" });
  const heard = timers.now();
  timers.pass(40_000);
  expect(feed.link.value.state).toBe("live");
  timers.pass(40_000);
  expect(feed.link.value).toEqual({ state: "lost", since: heard });
  expect(streams).toHaveLength(2);
  expect(streams[0]?.closed).toBe(true);
  last().open();
  expect(feed.link.value).toEqual({ state: "live" });
});

test("an error is a loss at once; the browser opens it again by itself unless it gave up", () => {
  const { timers, feed, last, streams, refusals } = start();
  last().open();
  last().error();
  expect(feed.link.value.state).toBe("lost");
  timers.pass(60_000);
  expect([streams.length, refusals()]).toEqual([1, 0]);
  for (const wait of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const before = streams.length;
    last().closed = true;
    last().error();
    timers.pass(wait - 1);
    expect(streams).toHaveLength(before);
    timers.pass(1);
    expect(streams).toHaveLength(before + 1);
  }
  expect(refusals()).toBe(7);
});

test("a refused stream says why", async () => {
  const { feed, last } = start();
  last().closed = true;
  last().error();
  await expect.poll(() => feed.link.value).toMatchObject({ state: "lost", why: "RBAC does not allow it." });
  last().open();
  expect(feed.link.value).toEqual({ state: "live" });
  expect(worst([{ state: "live" }, { state: "lost", since: 1 }])).toEqual({ state: "lost", since: 1 });
  expect(worst([{ state: "live" }, { state: "connecting" }])).toEqual({ state: "connecting" });
});

test("one that rests has no connection, and comes back when somebody looks", () => {
  const { timers, feed, last, streams } = start();
  last().open();
  feed.rest();
  expect([last().closed, feed.link.value.state]).toEqual([true, "connecting"]);
  last().error();
  timers.pass(600_000);
  expect(streams).toHaveLength(1);
  feed.wake();
  feed.wake();
  expect(streams).toHaveLength(2);
  last().open();
  expect(feed.link.value.state).toBe("live");
  feed.stop();
  feed.wake();
  expect(streams).toHaveLength(2);
});

test("one that was stopped stays closed", () => {
  const { timers, feed, last, streams } = start();
  last().closed = true;
  last().error();
  feed.stop();
  timers.pass(600_000);
  expect(streams).toHaveLength(1);
});

test("the path names topics and filter", () => {
  expect(machinesPath("a&b")).toBe("api/v1/events?topics=machines&group=a%26b");
});

test("announcements wait for each other, and the newest of a subject is said", () => {
  const timers = new FakeTimers();
  const announcer = new Announcer(timers);
  announcer.say("a", "a is at 1.");
  timers.pass(0);
  expect(announcer.text.value).toBe("a is at 1.");
  for (let step = 2; step < 9; step++) announcer.say("a", `a is at ${step}.`);
  announcer.say("b", "b stopped.");
  timers.pass(4999);
  expect(announcer.text.value).toBe("a is at 1.");
  timers.pass(1);
  expect(announcer.text.value).toBe("a is at 8. b stopped.");
  for (let subject = 0; subject < 9; subject++) announcer.say(`${subject}`, `${subject} moved.`);
  timers.pass(5000);
  expect(announcer.text.value).toBe("0 moved. 1 moved. 2 moved. 3 moved. And 5 more changes.");
});
