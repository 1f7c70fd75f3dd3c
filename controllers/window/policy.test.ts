import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { API_VERSION } from "../../api/meta.ts";
import { type RebootWindow, RebootWindowSpec } from "../../api/reboot-window.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../../api/update-group.ts";
import { decideWindow, fits, freezesWithin, groupOpening, openingsAt, whyNotNow } from "./policy.ts";

const MINUTE = 60_000;

function at(text: string): number {
  return Date.parse(text);
}

function windowOf(name: string, spec: Partial<RebootWindowSpec>): RebootWindow {
  return {
    apiVersion: API_VERSION,
    kind: "RebootWindow",
    metadata: { name, generation: 3 },
    spec: RebootWindowSpec.parse({
      start: "02:00",
      duration: "2h",
      groupSelector: { matchLabels: { tier: "web" } },
      ...spec,
    }),
  };
}

function groupOf(windows: "Always" | "OnlyInWindows", tier = "web"): UpdateGroup {
  return {
    apiVersion: API_VERSION,
    kind: "UpdateGroup",
    metadata: { name: "g", labels: { tier } },
    spec: UpdateGroupSpec.parse({ nodeSelector: {}, channel: "stable", windows }),
  };
}

describe("a group that updates in windows only", () => {
  const group = groupOf("OnlyInWindows");
  const nights = windowOf("nights", {});

  test("is open in a window that selects it, until that closes", () => {
    expect(groupOpening(group, [nights], at("2026-11-24T03:00:00Z"))).toMatchObject({
      open: true,
      openUntil: at("2026-11-24T04:00:00Z"),
      nextOpening: at("2026-11-25T02:00:00Z"),
      nextEdge: at("2026-11-24T04:00:00Z"),
      frozen: false,
      why: undefined,
    });
  });

  test("is closed outside, and says when the next one opens", () => {
    const opening = groupOpening(group, [nights], at("2026-11-24T12:00:00Z"));
    expect(opening).toMatchObject({ open: false, nextOpening: at("2026-11-25T02:00:00Z") });
    expect(opening.why).toEqual({
      reason: "WaitingForWindow",
      message: "No window is open; the next one opens at 2026-11-25T02:00:00Z.",
    });
    expect(opening.openings).toHaveLength(5);
  });

  test("is never open without a window that selects it", () => {
    const opening = groupOpening(groupOf("OnlyInWindows", "db"), [nights], at("2026-11-24T03:00:00Z"));
    expect(opening).toMatchObject({ open: false, nextOpening: null, why: { reason: "WaitingForWindow" } });
    expect(opening.why?.message).toContain("No RebootWindow of mode Allow selects the group");
  });

  test("stays open through windows that overlap", () => {
    const early = windowOf("early", { start: "00:00", duration: "3h" });
    expect(groupOpening(group, [nights, early], at("2026-11-24T01:00:00Z")).openUntil).toBe(
      at("2026-11-24T04:00:00Z"),
    );
  });

  test("is closed on a day that any of its windows excludes", () => {
    const other = windowOf("other", { start: "03:00", exclude: [{ from: "2026-11-24", to: "2026-11-24" }] });
    const opening = groupOpening(group, [nights, other], at("2026-11-24T03:00:00Z"));
    expect(opening).toMatchObject({ open: false, nextOpening: at("2026-11-25T02:00:00Z") });
  });

  test("is closed by a window that can't be read, as if that were not there", () => {
    const broken = windowOf("broken", { timeZone: "Mars/Olympus" });
    expect(groupOpening(group, [broken], at("2026-11-24T03:00:00Z")).open).toBe(false);
  });
});

describe("a change freeze", () => {
  const freeze = windowOf("audit", { start: "03:00", duration: "30m", mode: "Deny" });

  test("beats every window, and binds groups that always update", () => {
    for (const windows of ["Always", "OnlyInWindows"] as const) {
      const opening = groupOpening(
        groupOf(windows),
        [windowOf("nights", {}), freeze],
        at("2026-11-24T03:10:00Z"),
      );
      expect(opening).toMatchObject({ open: false, frozen: true, nextOpening: at("2026-11-24T03:30:00Z") });
      expect(opening.why).toEqual({
        reason: "ChangeFreeze",
        message:
          "RebootWindow audit freezes changes until 2026-11-24T03:30:00Z; the next one opens at 2026-11-24T03:30:00Z.",
      });
    }
  });

  test("closes an opening before it begins", () => {
    const opening = groupOpening(groupOf("Always"), [freeze], at("2026-11-24T02:00:00Z"));
    expect(opening).toMatchObject({ open: true, openUntil: at("2026-11-24T03:00:00Z"), frozen: false });
  });

  test("ends what would run into it", () => {
    const now = at("2026-11-24T02:30:00Z");
    const opening = groupOpening(groupOf("Always"), [freeze], now);
    expect([30, 31].map((minutes) => freezesWithin(opening, minutes * MINUTE, now))).toEqual([false, true]);
    expect(freezesWithin(groupOpening(groupOf("Always"), [], now), MINUTE, now)).toBe(false);
    expect(freezesWithin(opening, 0, at("2026-11-24T03:10:00Z"))).toBe(true);
  });

  test("is told with its start, before and while it lasts, whatever the windows are", () => {
    const later = windowOf("later", { start: "05:00", duration: "1h", mode: "Deny" });
    for (const windows of ["Always", "OnlyInWindows"] as const) {
      const freezesAt = (now: string) =>
        groupOpening(groupOf(windows), [later, windowOf("nights", {}), freeze], at(now)).freezesAt;
      expect(freezesAt("2026-11-24T02:00:00Z")).toBe(at("2026-11-24T03:00:00Z"));
      expect(freezesAt("2026-11-24T03:10:00Z")).toBe(at("2026-11-24T03:00:00Z"));
      expect(freezesAt("2026-11-24T03:30:00Z")).toBe(at("2026-11-24T05:00:00Z"));
      expect(
        groupOpening(groupOf(windows), [windowOf("nights", {})], at("2026-11-24T02:00:00Z")),
      ).toMatchObject({ freezesAt: null });
    }
  });

  test("that can't be read stays in force until it is corrected", () => {
    const typo = windowOf("typo", { mode: "Deny", start: "Mon-Fry 02:00" });
    const opening = groupOpening(groupOf("Always"), [typo], at("2026-11-24T12:00:00Z"));
    expect(opening).toMatchObject({
      open: false,
      frozen: true,
      freezesAt: 0,
      why: { reason: "ChangeFreeze" },
    });
    expect(opening.why?.message).toContain("Mon-Fry");
  });

  test("of other groups is none of ours", () => {
    const opening = groupOpening(groupOf("Always", "db"), [freeze], at("2026-11-24T03:10:00Z"));
    expect(opening).toMatchObject({ open: true, openUntil: null, nextOpening: null, nextEdge: null });
  });
});

describe("what takes a while", () => {
  const group = groupOf("OnlyInWindows");
  const now = at("2026-11-24T03:00:00Z");
  const opening = groupOpening(group, [windowOf("nights", {})], now);

  test("fits if it ends no later than the window", () => {
    expect(fits(opening, 60 * MINUTE, now)).toBe(true);
    expect(fits(opening, 61 * MINUTE, now)).toBe(false);
    expect(fits(groupOpening(groupOf("Always"), [], now), 1e12, now)).toBe(true);
  });

  test("waits for the next window if this one closes too soon", () => {
    expect(whyNotNow(opening, 60 * MINUTE, now)).toBeUndefined();
    expect(whyNotNow(opening, 90 * MINUTE, now)).toMatchObject({ reason: "WaitingForWindow" });
  });

  test("is told that no window is long enough", () => {
    expect(whyNotNow(opening, 121 * MINUTE, now)).toEqual({
      reason: "WindowTooShort",
      message: "The next openings last 120 min at most; drain, boot and a fallback may take 121 min.",
    });
  });
});

describe("the status of a window", () => {
  test("shows whether it is open, until when, and the next five openings", () => {
    const { status, nextEdge } = decideWindow(windowOf("nights", {}), at("2026-11-24T03:00:00Z"));
    expect(status).toMatchObject({
      observedGeneration: 3,
      open: true,
      closesAt: "2026-11-24T04:00:00Z",
      next: "2026-11-25T02:00:00Z",
      conditions: [{ type: "Accepted", status: "True", reason: "Accepted" }],
    });
    expect(status.nextOpenings).toHaveLength(5);
    expect(nextEdge).toBe(at("2026-11-24T04:00:00Z"));
  });

  test.each([
    ["UnknownTimeZone", { timeZone: "Mars/Olympus" }],
    ["InvalidStart", { start: "at noon" }],
    ["InvalidExclusion", { exclude: [{ from: "2026-12-26", to: "2026-12-24" }] }],
    ["NeverOpens", { start: "0 0 30 2 *" }],
    ["NeverOpens", { exclude: [{ from: "2026-01-01", to: "2036-01-01" }] }],
  ])("says %s of a window without effect", (reason, spec) => {
    const { status, nextEdge } = decideWindow(windowOf("broken", spec), at("2026-11-24T03:00:00Z"));
    expect(status).toMatchObject({
      open: false,
      conditions: [{ type: "Accepted", status: "False", reason }],
    });
    expect(nextEdge).toBeUndefined();
  });

  test("is the same when nothing changed", () => {
    const window = windowOf("nights", {});
    const first = decideWindow(window, at("2026-11-24T03:00:00Z")).status;
    expect(decideWindow({ ...window, status: first }, at("2026-11-24T03:30:00Z")).status).toEqual(first);
  });
});

test("a group is open exactly while the rule says so, and its next edge is where that changes", () => {
  const hour = fc.integer({ min: 0, max: 23 });
  const spec = fc.record({
    start: hour.map((value) => `${String(value).padStart(2, "0")}:00`),
    duration: fc.constantFrom("30m", "1h", "5h", "26h"),
    mode: fc.constantFrom("Allow" as const, "Deny" as const),
    exclude: fc
      .constantFrom(undefined, { from: "2026-11-24", to: "2026-11-25" })
      .map((range) => (range === undefined ? [] : [range])),
  });
  fc.assert(
    fc.property(
      fc.array(spec, { maxLength: 4 }),
      fc.constantFrom("Always" as const, "OnlyInWindows" as const),
      fc.nat(5 * 24 * 2),
      (specs, mode, halfHours) => {
        const windows = specs.map((one, index) => windowOf(`w${index}`, one));
        const now = at("2026-11-22T00:00:00Z") + halfHours * 30 * MINUTE;
        const opening = groupOpening(groupOf(mode), windows, now);
        expect(opening.open).toBe(shouldBeOpen(windows, mode, now));
        const end = Math.min(opening.nextEdge ?? Infinity, now + 5 * 24 * 60 * MINUTE);
        for (let instant = now; instant < end; instant += 30 * MINUTE) {
          expect(shouldBeOpen(windows, mode, instant)).toBe(opening.open);
        }
        if (opening.openUntil !== null && opening.open) {
          expect(shouldBeOpen(windows, mode, opening.openUntil)).toBe(false);
        }
        if (opening.nextOpening !== null) expect(shouldBeOpen(windows, mode, opening.nextOpening)).toBe(true);
      },
    ),
    { numRuns: 200 },
  );
});

test("a freeze without an end leaves no next opening, however far one looks", () => {
  const windows = [
    windowOf("nights", { start: "00:00", duration: "5h" }),
    windowOf("freeze", { start: "00:00", duration: "26h", mode: "Deny" }),
  ];
  const opening = groupOpening(groupOf("OnlyInWindows"), windows, at("2026-11-25T00:30:00Z"));
  expect(opening).toMatchObject({ open: false, frozen: true, nextOpening: null, openings: [] });
});

describe("windows with so many starts that four years of them are too many to look at", () => {
  const now = at("2026-11-25T00:30:20Z");
  const freeze = windowOf("freeze", { start: "* * * * *", duration: "30s", mode: "Deny" });

  test.each([
    ["every opening is frozen", windowOf("often", { start: "* * * * *", duration: "10s" })],
    ["an opening lies behind what is looked at", windowOf("leap", { start: "0 2 29 2 *", duration: "1h" })],
  ])("count as closed, and say so: %s", (_, allow) => {
    const opening = groupOpening(groupOf("OnlyInWindows"), [allow, freeze], now);
    expect(opening).toMatchObject({ open: false, nextOpening: null, openings: [], frozen: true });
    expect(opening.why).toEqual({
      reason: "OpeningNotFound",
      message: expect.stringContaining("none opens until 2026-12-01T23:11:00Z"),
    });
    // It is looked again when the freeze ends, and goes on searching.
    expect(opening.nextEdge).toBe(at("2026-11-25T00:30:30Z"));
    const thawed = groupOpening(groupOf("OnlyInWindows"), [allow, freeze], now + 15_000);
    expect(thawed).toMatchObject({ open: false, frozen: false, nextEdge: at("2026-12-01T23:11:00Z") });
  });

  test("don't close a group in which they open, nor freeze one by days that they exclude", () => {
    const always = groupOf("Always");
    expect(groupOpening(always, [freeze], now + 15_000)).toMatchObject({ open: true, why: undefined });
    const lifted = { ...freeze.spec, exclude: [{ from: "2026-01-01", to: "2036-01-01" }] };
    expect(groupOpening(always, [windowOf("freeze", lifted)], now)).toMatchObject({
      open: true,
      frozen: false,
      openUntil: at("2026-12-01T23:11:00Z"),
    });
  });

  test("are told of in their own status, and looked at again", () => {
    const exclude = [{ from: "2026-01-01", to: "2036-01-01" }];
    const { status, nextEdge } = decideWindow(
      windowOf("often", { start: "* * * * *", duration: "10s", exclude }),
      now,
    );
    expect(status.conditions?.[0]).toMatchObject({ status: "False", reason: "OpeningNotFound" });
    expect(nextEdge).toBe(at("2026-12-01T23:11:00Z"));
  });
});

test("groups that the same windows bind share one look", () => {
  const look = openingsAt(
    [windowOf("nights", {}), windowOf("others", { groupSelector: { matchLabels: { tier: "db" } } })],
    at("2026-11-25T00:30:00Z"),
  );
  const web = look(groupOf("OnlyInWindows"));
  expect(look(groupOf("OnlyInWindows"))).toBe(web);
  expect(look(groupOf("Always"))).not.toBe(web);
  expect(look(groupOf("OnlyInWindows", "db"))).not.toBe(web);
  expect(web).toEqual(
    groupOpening(groupOf("OnlyInWindows"), [windowOf("nights", {})], at("2026-11-25T00:30:00Z")),
  );
});

/** The rule, in the words of the design, for daily windows in UTC. */
function shouldBeOpen(
  windows: readonly RebootWindow[],
  mode: "Always" | "OnlyInWindows",
  now: number,
): boolean {
  const day = 24 * 60 * MINUTE;
  const excludes = (window: RebootWindow): boolean =>
    window.spec.exclude.some(
      ({ from, to }) => now >= at(`${from}T00:00:00Z`) && now < at(`${to}T00:00:00Z`) + day,
    );
  const covers = ({ spec }: RebootWindow): boolean => {
    const length = { "30m": 30, "1h": 60, "5h": 300, "26h": 1560 }[spec.duration] ?? 0;
    const start = Number.parseInt(spec.start, 10) * 60 * MINUTE;
    const since = (((now - start) % day) + day) % day;
    return since < length * MINUTE || since + day < length * MINUTE;
  };
  const allow = windows.filter((window) => window.spec.mode === "Allow");
  const deny = windows.filter((window) => window.spec.mode === "Deny");
  if (deny.some((window) => covers(window) && !excludes(window))) return false;
  return mode === "Always" || (allow.some(covers) && !allow.some(excludes));
}
