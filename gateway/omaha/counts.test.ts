/** Requests over time, as a gateway counts and writes them. */
import { beforeEach, expect, it } from "vitest";
import type { CountRecord, Span } from "../../coordination/request-counts.ts";
import { silentLogger } from "../../ports/log.ts";
import { SimClock } from "../../test/sim/clock.ts";
import { RequestCounts } from "./counts.ts";

const [MINUTE, HOUR] = [60_000, 3_600_000];
const START = 1000 * 24 * HOUR;

let sim: SimClock;
let written: Map<string, CountRecord>;
let fails = false;
let counts: RequestCounts;

beforeEach(() => {
  sim = new SimClock();
  written = new Map();
  fails = false;
  const put = async (span: Span, group: string, start: number, _: string, record: CountRecord) => {
    if (fails) throw new Error("etcd is away");
    written.set(`${span} ${group} ${start - START}`, structuredClone(record));
  };
  counts = new RequestCounts({ store: { put }, gateway: "gw", clock: sim.process(), log: silentLogger });
});

const event = (type: number, result: number) => ({ type, result, errorCode: 0, previousVersion: undefined });
const saw = (version: string, at: number, ...events: ReturnType<typeof event>[]) =>
  counts.saw("g", { version, events }, START + at);

it("are counted by minute and by hour, and each record is written whole", async () => {
  saw("1.0.0", 0, event(3, 2));
  saw("1.0.0", MINUTE + 1, event(13, 1), event(14, 1));
  await counts.flush();
  saw("1.1.0", MINUTE + 2);
  saw("1.1.0", HOUR);
  await counts.flush();
  expect(written.get("minutes g 0")?.parts).toEqual({
    "0": { versions: { "1.0.0": 1 }, events: { "1.0.0 3 2": 1 } },
    "1": { versions: { "1.0.0": 1, "1.1.0": 1 }, events: { "1.0.0 13 1": 1, "1.0.0 14 1": 1 } },
  });
  expect(written.get(`minutes g ${HOUR}`)?.parts).toEqual({ "0": { versions: { "1.1.0": 1 }, events: {} } });
  expect(Object.keys(written.get("hours g 0")?.parts ?? {})).toEqual(["0", "1"]);
});

it("are written by and by, and what could not be written is written later", async () => {
  counts.start();
  fails = true;
  saw("1.0.0", 0);
  saw("1.0.0", HOUR);
  await counts.flush();
  expect(written.size).toBe(0);
  fails = false;
  await counts.stop();
  expect([...written.keys()].toSorted()).toEqual(["hours g 0", "minutes g 0", `minutes g ${HOUR}`]);
});

it("have an end, whatever machines say that they are", async () => {
  for (let i = 0; i < 200; i++) saw(`1.0.${i}`, 0);
  for (const version of ["__proto__", "constructor", "", "x".repeat(100)]) saw(version, 0);
  await counts.flush();
  const { versions = {} } = written.get("minutes g 0")?.parts["0"] ?? {};
  expect(Object.keys(versions)).toHaveLength(65);
  expect(versions.other).toBe(200 - 64 + 4);
  for (let i = 0; i < 2000; i++) counts.saw(`group-${i}`, { version: "1.0.0", events: [] }, START);
  await counts.flush();
  expect(written.size).toBeLessThanOrEqual(1000);
});
