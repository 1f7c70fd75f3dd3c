import { beforeEach, expect, test } from "vitest";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { NodeMemory } from "./memory.ts";

const MINUTE = 60_000;
const others = new Set(["uid-b"]);

let clock: VirtualClock;
let memory: NodeMemory;
beforeEach(() => {
  clock = new VirtualClock();
  memory = new NodeMemory(clock);
});

/** Looks at "a" every 10 s for a minute; the last answer. */
async function lookForAMinute(present: ReadonlySet<string>): Promise<number> {
  let last = memory.absentFor("a", present, "uid-a");
  for (let looks = 0; looks < 6; looks++) {
    await clock.advance(10_000);
    last = memory.absentFor("a", present, "uid-a");
  }
  return last;
}

test("an agent is away for as long as it was looked for", async () => {
  expect(await lookForAMinute(others)).toBe(MINUTE);
  expect(memory.absentFor("a", new Set(["uid-a"]), "uid-a")).toBe(0);
  expect(memory.absentFor("a", others, "uid-a")).toBe(0);
});

test("a time in which etcd could not be read hardly counts", async () => {
  memory.absentFor("a", others, "uid-a");
  await clock.advance(60 * MINUTE);
  expect(memory.absentFor("a", others, "uid-a")).toBe(15_000);
});

test("while no agent at all is present no gateway can be asked, and nobody is missed", async () => {
  expect(await lookForAMinute(new Set())).toBe(0);
  expect(await lookForAMinute(others)).toBe(MINUTE);
});

test("an agent is there for as long as it was seen under one grant, with or without a break", async () => {
  expect(memory.connectedFor("a", 7, true)).toBe(0);
  await clock.advance(10_000);
  expect(memory.connectedFor("a", 7, true)).toBe(10_000);
  await clock.advance(10_000);
  expect(memory.connectedFor("a", 7, false)).toBe(10_000);
  await clock.advance(60 * MINUTE);
  expect(memory.connectedFor("a", 7, true)).toBe(25_000);
  expect(memory.connectedFor("a", 8, true)).toBe(0);
});

test("a release deadline runs only while the API server answers", async () => {
  memory.look("a", 7, "sign");
  await clock.advance(60 * MINUTE);
  expect(memory.look("a", 7, "sign")).toEqual({ askedFor: 15_000, heartbeat: false });
  await clock.advance(2_000);
  expect(memory.look("a", 7, "another")).toEqual({ askedFor: 17_000, heartbeat: true });
  expect(memory.look("a", 8, "another")).toEqual({ askedFor: 0, heartbeat: false });
});
