import { expect, test } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { silentLogger } from "../ports/log.ts";
import { ApiError, type KubeClient } from "./client.ts";
import { Recorder } from "./recorder.ts";
import { VirtualClock } from "./virtual-clock.ts";

const WHY = { reason: "Draining", message: "Pods leave the node" } as const;

function node(name: string): KubeObject {
  return { apiVersion: "v1", kind: "Node", metadata: { name, uid: name } };
}

function makeRig(fail = false): {
  clock: VirtualClock;
  recorder: Recorder;
  writes: string[];
  dropped: () => number;
} {
  const clock = new VirtualClock();
  const writes: string[] = [];
  let dropped = 0;
  let uuid = 0;
  const partial: Partial<KubeClient> = {
    create: (_resource, object) => {
      if (fail) return Promise.reject(new ApiError("Forbidden", "no"));
      writes.push(`create ${object.metadata.namespace}/${object.metadata.name.split(".")[0]}`);
      return Promise.resolve(object);
    },
    patch: (_resource, key, { body }) => {
      writes.push(`patch ${key.name.split(".")[0]} ${(body as { series: { count: number } }).series.count}`);
      return Promise.resolve({} as never);
    },
  };
  const recorder = new Recorder({
    client: partial as KubeClient,
    clock,
    random: { next: () => 0, uuid: () => String(++uuid).padStart(32, "0") },
    log: silentLogger,
    controller: "slipway.dev/manager",
    instance: "a",
    onDropped: () => (dropped += 1),
  });
  return { clock, recorder, writes, dropped: () => dropped };
}

test("the same event again becomes a series, written now and then; after six minutes it is a new event", async () => {
  const { clock, recorder, writes } = makeRig();
  for (let minute = 0; minute < 5; minute++) {
    for (let second = 0; second < 6; second++) {
      recorder.record(node("n"), WHY, "Drain");
      await clock.advance(10_000);
    }
  }
  expect(writes[0]).toBe("create default/n");
  expect(writes.slice(1)).toEqual(["patch n 2", "patch n 8", "patch n 14", "patch n 20", "patch n 26"]);
  await clock.advance(400_000);
  recorder.record(node("n"), WHY, "Drain");
  await clock.advance(0);
  expect(writes.at(-1)).toBe("create default/n");
});

test("one object can't flood: 25 different events and then one each five minutes", async () => {
  const { clock, recorder, writes, dropped } = makeRig();
  for (let index = 0; index < 40; index++)
    recorder.record(node("n"), { ...WHY, message: String(index) }, "Drain");
  recorder.record(node("other"), WHY, "Drain");
  await clock.advance(10_000);
  expect(writes).toHaveLength(26);
  expect(dropped()).toBe(15);
  await clock.advance(301_000);
  recorder.record(node("n"), { ...WHY, message: "later" }, "Drain");
  await clock.advance(0);
  expect(writes).toHaveLength(27);
});

test("an API server that refuses costs nothing but the events", async () => {
  const { clock, recorder, dropped } = makeRig(true);
  recorder.record(node("n"), WHY, "Drain");
  const flushed = recorder.flush(1000);
  await clock.advance(1000);
  await flushed;
  expect(dropped()).toBe(1);
  expect(clock.pending).toBe(0);
});
