import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { jsonLogger } from "../../ports/log.ts";
import { MemoryStore } from "../../runtime/memory-store.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { group, NOW, nodeUpdate } from "../fixtures.ts";
import type { HttpRequest } from "../http/caller.ts";
import { Notifier } from "./notifier.ts";

const KEY = "a key of some length";
const URL = "https://desk.test/slipway";

class Desk {
  readonly clock = new VirtualClock(NOW);
  readonly groups = new MemoryStore<UpdateGroup>();
  readonly nodeUpdates = new MemoryStore<NodeUpdate>();
  readonly requests: HttpRequest[] = [];
  readonly outcomes: string[] = [];
  readonly events: string[] = [];
  readonly #stop = new AbortController();
  #revision = 1;
  /** What it answers to each call in turn, the last for ever; an Error is thrown. */
  answers: (number | Error)[] = [200];

  constructor(notifications: object = { url: URL, signingKey: "desk" }) {
    const notifier = new Notifier({
      groups: this.groups,
      nodeUpdates: this.nodeUpdates,
      http: (request) => {
        this.requests.push(request);
        const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
        return answer instanceof Error
          ? Promise.reject(answer)
          : Promise.resolve({ status: answer ?? 0, body: "" });
      },
      keys: (name) => Promise.resolve({ desk: KEY, empty: "" }[name]),
      recorder: { record: (_, { reason, message }) => void this.events.push(`${reason}: ${message}`) },
      clock: this.clock,
      log: jsonLogger(this.clock, () => undefined),
      told: (outcome) => void this.outcomes.push(outcome),
    });
    this.groups.replace([group("pool", { notifications })], "1");
    this.nodeUpdates.replace([], "1");
    void notifier.run(this.#stop.signal);
  }

  /** A machine of the group is missed. */
  suspect(name: string): void {
    this.#put(name, { step: "Rebooting" });
    const status = { step: "Suspect" as const, message: "long away", suspectSince: timestamp(NOW) };
    this.#put(name, status);
  }

  #put(name: string, status: NodeUpdateStatus): void {
    const made = nodeUpdate(name, "pool", "os-1.1.0", status);
    const metadata = { ...made.metadata, resourceVersion: String(++this.#revision) };
    this.nodeUpdates.put({ ...made, metadata });
  }

  stop(): void {
    this.#stop.abort();
  }
}

/** Lets promises go on. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

test("a notice says what and where, and its signature is the body's", async () => {
  const desk = new Desk();
  desk.suspect("a");
  await settle();
  const [request] = desk.requests;
  expect(request).toMatchObject({ method: "POST", url: URL });
  const body = request?.body ?? "";
  expect(JSON.parse(body)).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{32}$/),
    time: "2026-11-23T03:00:00.000Z",
    event: "Suspect",
    group: "pool",
    release: "",
    node: "a",
    reason: "Suspect",
    message: "long away",
    text: "Slipway Suspect (pool, a): long away",
  });
  expect(request?.headers?.["slipway-signature"]).toBe(
    `sha256=${createHmac("sha256", KEY).update(body).digest("hex")}`,
  );
  expect(desk.outcomes).toEqual(["sent"]);
});

test("a webhook that is away is tried again, with the same words, and what follows waits its turn", async () => {
  const desk = new Desk();
  desk.answers = [new Error("connect ECONNREFUSED"), 503, 200];
  desk.suspect("a");
  desk.suspect("b");
  await settle();
  expect(desk.requests).toHaveLength(1);
  await desk.clock.advance(1000);
  await settle();
  await desk.clock.advance(5000);
  await settle();
  const bodies = desk.requests.map(({ body = "" }) => JSON.parse(body) as { node: string; id: string });
  expect(bodies.map(({ node }) => node)).toEqual(["a", "a", "a", "b"]);
  expect(new Set(bodies.map(({ id }) => id)).size).toBe(2);
  expect(desk.outcomes).toEqual(["sent", "sent"]);
  expect(desk.events).toEqual([]);
});

test("one that says no is not asked again, and the group's events say so", async () => {
  const desk = new Desk();
  desk.answers = [404];
  desk.suspect("a");
  await settle();
  expect(desk.requests).toHaveLength(1);
  expect(desk.outcomes).toEqual(["failed"]);
  expect(desk.events).toEqual([
    "NotificationFailed: The webhook of UpdateGroup pool was not told of Suspect: it answered 404.",
  ]);
});

test.each(["missing", "empty"])(
  "without a key, or with an empty one, nothing is sent: %s",
  async (signingKey) => {
    const desk = new Desk({ url: URL, signingKey });
    desk.suspect("a");
    await settle();
    expect(desk.requests).toEqual([]);
    expect(desk.events[0]).toContain(`no webhook key ${signingKey}; nothing is sent unsigned`);
  },
);

test("only the events that the group wants are told", async () => {
  const desk = new Desk({ url: URL, signingKey: "desk", events: ["Halted"] });
  desk.suspect("a");
  await settle();
  expect(desk.requests).toEqual([]);
});

test("what is too much is forgotten, oldest first, and counted", async () => {
  const desk = new Desk();
  desk.answers = [new Error("away"), 200];
  for (let i = 0; i < 70; i++) desk.suspect(`n${i}`);
  await settle();
  expect(desk.outcomes).toEqual(Array.from({ length: 6 }, () => "dropped"));
  await desk.clock.advance(1000);
  for (let i = 0; i < 100; i++) await settle();
  const nodes = desk.requests.map(({ body = "" }) => (JSON.parse(body) as { node: string }).node);
  expect(nodes.slice(0, 3)).toEqual(["n0", "n0", "n7"]);
  expect(nodes).toHaveLength(65);
});

test("a manager that does not lead tells nothing, and one that stops drops what waits", async () => {
  const desk = new Desk();
  desk.answers = [new Error("away"), 200];
  desk.suspect("a");
  await settle();
  desk.stop();
  await settle();
  await desk.clock.advance(1000);
  desk.suspect("b");
  await settle();
  expect(desk.requests).toHaveLength(1);
});
