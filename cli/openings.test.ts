import { describe, expect, test } from "vitest";
import { openingsOf } from "../api/openings.ts";
import type { RebootWindow, RebootWindowStatus } from "../api/reboot-window.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import { recorded } from "./explain/cases.ts";
import { linesOf } from "./windows.ts";

const { snapshot, now } = recorded("window-closed");
const HOUR = 3_600_000;
const at = (hour: number): string => new Date(now + hour * HOUR).toISOString().replace(".000Z", "Z");

function group(windows: "Always" | "OnlyInWindows", nextOpening?: number): UpdateGroup {
  const [first] = snapshot.groups;
  if (first === undefined) throw new Error("no group was recorded");
  const status = nextOpening === undefined ? {} : { nextOpening: at(nextOpening) };
  return {
    ...first,
    metadata: { name: "g", labels: { tier: "a" } },
    spec: { ...first.spec, windows },
    status,
  };
}

function window(name: string, mode: "Allow" | "Deny", status: RebootWindowStatus, tier = "a"): RebootWindow {
  return {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootWindow",
    metadata: { name },
    spec: {
      start: "02:00",
      duration: "2h",
      timeZone: "UTC",
      exclude: [],
      mode,
      groupSelector: { matchLabels: { tier } },
    },
    status,
  };
}

const spans = (...pairs: readonly [number, number][]): RebootWindowStatus["nextOpenings"] =>
  pairs.map(([start, end]) => ({ start: at(start), end: at(end) }));

function hours(of: UpdateGroup, ...windows: RebootWindow[]): string[] {
  return openingsOf(of, windows, now).map(({ start, end, windows: by }) =>
    `${(start - now) / HOUR}-${end === null ? "" : (end - now) / HOUR} ${by.join("+")}`.trim(),
  );
}

describe("the openings of a group", () => {
  test("the present one and the next", () => {
    const night = window("night", "Allow", { open: true, closesAt: at(1), nextOpenings: spans([20, 22]) });
    expect(hours(group("OnlyInWindows"), night)).toEqual(["0-1 night", "20-22 night"]);
  });

  test("windows that overlap or touch are one", () => {
    const night = window("night", "Allow", { open: false, nextOpenings: spans([2, 4], [26, 28]) });
    const dawn = window("dawn", "Allow", { open: false, nextOpenings: spans([3, 6], [28, 29]) });
    expect(hours(group("OnlyInWindows"), dawn, night)).toEqual(["2-6 night+dawn", "26-29 night+dawn"]);
  });

  test("a freeze cuts a hole, into Always too", () => {
    const freeze = window("freeze", "Deny", { open: false, nextOpenings: spans([3, 5]) });
    const night = window("night", "Allow", { open: false, nextOpenings: spans([2, 6]) });
    expect(hours(group("OnlyInWindows"), night, freeze)).toEqual(["2-3 night", "5-6 night"]);
    expect(hours(group("Always"), freeze)).toEqual(["0-3", "5-"]);
  });

  test("windows of other groups don't count, nor do Allow windows where it may always", () => {
    const other = window("other", "Allow", { open: true, nextOpenings: [] }, "b");
    expect(hours(group("OnlyInWindows"), other)).toEqual([]);
    expect(
      hours(group("Always"), window("night", "Allow", { open: false, nextOpenings: spans([2, 4]) })),
    ).toEqual(["0-"]);
  });

  test("the group's own word on the next one is exact: what another window excludes is left out", () => {
    const night = window("night", "Allow", { open: false, nextOpenings: spans([2, 4], [26, 28]) });
    expect(hours(group("OnlyInWindows", 26), night)).toEqual(["26-28 night"]);
  });
});

describe("the list", () => {
  const notes = (of: UpdateGroup, ...windows: RebootWindow[]): string[] =>
    linesOf(of, windows, now).map(({ state, note }) => `${state} ${note}`.trim());

  test("says why there is none, or what binds", () => {
    const refused = {
      type: "Accepted",
      status: "False" as const,
      reason: "InvalidStart",
      message: "",
      lastTransitionTime: at(-1),
    };
    expect(notes(group("OnlyInWindows"))).toEqual(["never no RebootWindow of mode Allow selects it"]);
    expect(notes(group("Always"))).toEqual(["open windows: Always"]);
    expect(
      notes(group("Always"), window("freeze", "Deny", { open: true, closesAt: at(2), nextOpenings: [] })),
    ).toEqual(["next change freeze freeze"]);
    expect(notes(group("OnlyInWindows"), window("bad", "Allow", { conditions: [refused] }))).toEqual([
      "never RebootWindow bad can't be acted on",
    ]);
  });
});
