import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type SessionResponse, SessionResponseSchema } from "../../proto/gen/agent_pb.ts";
import { FakeClock } from "../fake-clock.ts";
import { Outbox } from "./outbox.ts";

function desired(group: string): SessionResponse {
  return create(SessionResponseSchema, { body: { case: "desired", value: { group } } });
}

function commit(reason: string): SessionResponse {
  return create(SessionResponseSchema, { body: { case: "commit", value: { reason } } });
}

function setUp() {
  const clock = new FakeClock();
  const written: string[] = [];
  const flush: (() => void)[] = [];
  let stalls = 0;
  const outbox = new Outbox({
    clock,
    stallAfter: 1000,
    write: ({ body }, flushed) => {
      written.push(
        body.case === "desired" ? body.value.group : body.case === "commit" ? body.value.reason : "?",
      );
      flush.push(flushed);
    },
    stalled: () => {
      stalls += 1;
    },
  });
  return { clock, written, outbox, flush: () => flush.shift()?.(), stalls: () => stalls };
}

test("while one is under way only the newest of each kind waits", () => {
  const { outbox, written, flush } = setUp();
  for (const group of ["a", "b", "c"]) outbox.push(desired(group));
  outbox.push(commit("x"));
  for (let i = 0; i < 1000; i++) outbox.push(desired(`d${i}`));
  expect(outbox.waiting).toBe(2);
  expect(written).toEqual(["a"]);
  flush();
  flush();
  flush();
  expect(written).toEqual(["a", "d999", "x"]);
  outbox.push(desired("e"));
  expect(written.at(-1)).toBe("e");
});

test("a peer that takes nothing is given up, once", async () => {
  const { outbox, clock, stalls, written } = setUp();
  outbox.push(desired("a"));
  outbox.push(desired("b"));
  await clock.advance(999);
  expect(stalls()).toBe(0);
  await clock.advance(10_000);
  expect(stalls()).toBe(1);
  outbox.push(desired("c"));
  expect(written).toEqual(["a"]);
  expect(clock.pending).toBe(0);
});

test("a peer that takes one at a time is not given up", async () => {
  const { outbox, clock, stalls, flush } = setUp();
  for (let i = 0; i < 10; i++) {
    outbox.push(desired(`${i}`));
    await clock.advance(900);
    flush();
  }
  await clock.advance(10_000);
  expect(stalls()).toBe(0);
});

test("closing writes what waits, and nothing after it", () => {
  const { outbox, written, clock } = setUp();
  outbox.push(desired("a"));
  outbox.push(commit("last"));
  outbox.close();
  outbox.push(desired("b"));
  expect(written).toEqual(["a", "last"]);
  expect(clock.pending).toBe(0);
});
