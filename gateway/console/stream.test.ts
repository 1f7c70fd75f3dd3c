import { expect, test } from "vitest";
import type * as view from "../../console/contract.ts";
import type { Topic } from "../../console/events.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { Changes } from "./changes.ts";
import { MAX_STREAMED, streamOf } from "./stream.ts";

const at = "2026-11-27T07:00:00Z";

function machine(uid: string, more: Partial<view.Machine> = {}): view.Machine {
  return {
    ...{ uid, name: uid, kind: "node", group: "web", zone: "a", version: "1", target: "2" },
    ...{ state: "Idle", reason: "", message: "", slot: false, ...more },
  };
}

class Reader {
  readonly changes = new Changes();
  readonly clock = new VirtualClock();
  readonly stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  stale: string | undefined;
  end: string | undefined;

  open(topics: Topic[], options: { lastEventId?: string; zone?: string } = {}): AsyncGenerator<string> {
    const { changes, clock } = this;
    return streamOf({
      ...{ changes, clock, epoch: "e0", topics, signal: this.stop.signal },
      lastEventId: options.lastEventId,
      passes: ({ zone }) => options.zone === undefined || zone === options.zone,
      freshness: () => (this.stale === undefined ? { asOf: at } : { asOf: at, stale: this.stale }),
      ends: async () => this.end,
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    });
  }

  put(item: view.Machine): void {
    this.changes.put("machines", item.uid, item);
    for (const listener of this.#listeners) listener();
  }

  /** The next piece, for which time passes. */
  async next(stream: AsyncGenerator<string>): Promise<{ event: string; id: string; data: unknown }> {
    const piece = stream.next();
    const came: IteratorResult<string>[] = [];
    void piece.then((result) => came.push(result));
    for (let n = 0; n < 100 && came.length === 0; n++) await this.clock.advance(250);
    const text = came[0]?.value as string | undefined;
    const line = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(text ?? "")?.[1] ?? "";
    return { event: line("event"), id: line("id"), data: JSON.parse(line("data") || "null") as unknown };
  }
}

test("a snapshot comes in parts, and its position lets one come back", async () => {
  const reader = new Reader();
  for (let n = 0; n < 600; n++) reader.put(machine(`m${n}`));
  const stream = reader.open(["machines"]);
  expect((await reader.next(stream)).event).toBe("freshness");
  const sizes: number[] = [];
  for (const end of [false, false, true]) {
    const { event, data } = await reader.next(stream);
    expect(event).toBe("snapshot");
    expect(data).toMatchObject({ topic: "machines", end });
    sizes.push((data as { items: unknown[] }).items.length);
  }
  expect(sizes).toEqual([250, 250, 100]);
  const { id } = await reader.next(stream);
  expect(id).toBe("e0-600");
  reader.put(machine("m7", { state: "Failed" }));
  const back = reader.open(["machines"], { lastEventId: id });
  await reader.next(back);
  expect(await reader.next(back)).toMatchObject({
    event: "change",
    id: "e0-601",
    data: { changes: { machines: { put: [{ uid: "m7", state: "Failed" }], gone: [] } } },
  });
});

test("many changes of one machine are one, and more than a page can show are none", async () => {
  const reader = new Reader();
  const stream = reader.open(["machines"]);
  for (let n = 0; n < 3; n++) await reader.next(stream);
  for (let progress = 0; progress < 50; progress++) reader.put(machine("m", { progress }));
  const { data } = await reader.next(stream);
  expect(data).toMatchObject({ changes: { machines: { put: [{ uid: "m", progress: 49 }] } } });
  for (let n = 0; n <= MAX_STREAMED; n++) reader.changes.put("machines", `m${n}`, machine(`m${n}`));
  const large = reader.open(["machines"]);
  await reader.next(large);
  expect((await reader.next(large)).data).toMatchObject({ items: [], end: true, omitted: MAX_STREAMED + 2 });
});

test("what changes while the page takes a piece comes next, and not with the next change", async () => {
  const reader = new Reader();
  const stream = reader.open(["machines"]);
  for (let n = 0; n < 3; n++) await reader.next(stream);
  for (const state of ["Staging", "Staged"] as const) {
    const began = reader.clock.monotonic();
    reader.put(machine("m", { state }));
    expect(await reader.next(stream)).toMatchObject({
      data: { changes: { machines: { put: [{ state }] } } },
    });
    expect(reader.clock.monotonic() - began).toBe(250);
  }
});

test("who leaves the filter is gone for that page", async () => {
  const reader = new Reader();
  reader.put(machine("m"));
  const stream = reader.open(["machines"], { zone: "a" });
  for (let n = 0; n < 3; n++) await reader.next(stream);
  reader.put(machine("m", { zone: "b" }));
  expect((await reader.next(stream)).data).toEqual({ changes: { machines: { put: [], gone: ["m"] } } });
});

test("a page hears that it is stale at once, that all is well now and then, and why it ends", async () => {
  const reader = new Reader();
  const stream = reader.open(["groups"]);
  for (let n = 0; n < 3; n++) await reader.next(stream);
  expect(await reader.next(stream)).toMatchObject({ event: "freshness", data: { asOf: at } });
  reader.stale = "No answer.";
  reader.put(machine("m"));
  expect(await reader.next(stream)).toMatchObject({ event: "freshness", data: { stale: "No answer." } });
  reader.end = "Sign in first.";
  let last = await reader.next(stream);
  for (let n = 0; n < 5 && last.event === "freshness"; n++) last = await reader.next(stream);
  expect(last).toMatchObject({ event: "end", data: { message: "Sign in first." } });
  expect((await stream.next()).done).toBe(true);
});
