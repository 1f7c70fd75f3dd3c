import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { areas, thinned } from "./areas.ts";
import { calendar } from "./calendar.ts";
import { byName, duration, percent, relative } from "./format.ts";
import { cellAt, cellSize, layOut, moved } from "./grid/layout.ts";
import { href, parseRoute } from "./route.ts";

describe("words", () => {
  test("percent is 100 only when all are, and 0 only when none is", () => {
    expect([
      percent(0, 10),
      percent(1, 5000),
      percent(4999, 5000),
      percent(5000, 5000),
      percent(0, 0),
    ]).toEqual([0, 1, 99, 100, 0]);
  });

  test("durations have their two largest units", () => {
    const minute = 60_000;
    expect([500, 59_999, 90 * minute, 120 * minute, 50 * 60 * minute].map(duration)).toEqual([
      ...["0 s", "59 s", "1 h 30 min", "2 h", "2 d 2 h"],
    ]);
    expect([relative(0, 61_000), relative(61_000, 0), relative(0, 900)]).toEqual([
      "1 min ago",
      "in 1 min",
      "now",
    ]);
  });

  test("names with numbers stand in the order of the numbers", () => {
    expect(["node-10", "node-9", "node-1"].toSorted(byName)).toEqual(["node-1", "node-9", "node-10"]);
  });
});

describe("addresses", () => {
  test("lead back to what they were made from", () => {
    expect(parseRoute(href.group("a/b c"))).toMatchObject({ view: "group", group: "a/b c" });
    const { view, query } = parseRoute(href.machine("u 1", "w"));
    expect([view, query.get("machine"), query.get("group")]).toEqual(["fleet", "u 1", "w"]);
  });

  test("whatever is typed, some view is shown", () => {
    fc.assert(fc.property(fc.string(), (hash) => parseRoute(`#${hash}`).view.length > 0));
    expect(parseRoute("#/groups/%E0%A4%A").group).toBe("%E0%A4%A");
    expect(parseRoute("#/nowhere").view).toBe("rollouts");
    expect(parseRoute("#/toString").view).toBe("rollouts");
  });
});

describe("the grid", () => {
  test("each cell is found where it stands, and nothing beside them", () => {
    const cells = fc.integer({ min: 1, max: 6000 });
    fc.assert(
      fc.property(cells, fc.integer({ min: 10, max: 2000 }), (count, width) => {
        const layout = layOut(count, width, cellSize(count));
        expect(layout.columns * layout.rows).toBeGreaterThanOrEqual(count);
        expect(layout.width <= width || layout.columns === 1).toBe(true);
        const index = count - 1;
        const x = (index % layout.columns) * layout.pitch + 1;
        const y = Math.floor(index / layout.columns) * layout.pitch + 1;
        expect(cellAt(layout, x, y, count)).toBe(index);
        expect(cellAt(layout, -1, y, count)).toBeUndefined();
        expect(cellAt(layout, x, layout.rows * layout.pitch + 1, count)).toBeUndefined();
      }),
    );
  });

  test("keys move inside of it", () => {
    const at = (index: number, key: string, control = false) => moved(index, key, control, 25, 10);
    expect([at(0, "ArrowLeft"), at(24, "ArrowRight"), at(3, "ArrowUp"), at(18, "ArrowDown")]).toEqual([
      0, 24, 3, 18,
    ]);
    expect([at(3, "ArrowDown"), at(13, "Home"), at(13, "End"), at(23, "End")]).toEqual([13, 10, 19, 24]);
    expect([at(13, "Home", true), at(13, "End", true), at(0, "PageDown"), at(9, "x")]).toEqual([
      0,
      24,
      24,
      undefined,
    ]);
    fc.assert(
      fc.property(
        fc.nat({ max: 24 }),
        fc.constantFrom("ArrowUp", "ArrowDown", "PageUp", "PageDown", "End"),
        (index, key) => {
          const to = at(index, key) ?? -1;
          expect(to).toBeGreaterThanOrEqual(0);
          expect(to).toBeLessThan(25);
        },
      ),
    );
  });
});

describe("the chart", () => {
  const times = ["2026-11-27T00:00:00Z", "2026-11-27T01:00:00Z", "2026-11-27T02:00:00Z"];

  test("areas stand on each other, and end at the right edge", () => {
    const series = [
      { version: "1", counts: [4, 2, 0] },
      { version: "2", counts: [0, 2, 4] },
    ];
    expect(areas({ times, series }, 100, 40)).toEqual([
      { label: "1", latest: 0, path: "M0 40V0H50V20H100V40H100V40H100V40H50V40H0Z" },
      { label: "2", latest: 4, path: "M0 0V0H50V0H100V0H100V40H100V20H50V0H0Z" },
    ]);
  });

  test("what is rare is one area", () => {
    const series = Array.from({ length: 9 }, (_, index) => ({ version: `${index}`, counts: [1, 1, 1] }));
    expect(areas({ times, series }, 100, 40).map(({ label, latest }) => [label, latest])).toEqual([
      ...[
        ["0", 1],
        ["1", 1],
        ["2", 1],
        ["3", 1],
        ["4", 1],
        ["others", 4],
      ],
    ]);
    expect(thinned(Array.from({ length: 100 }), 5)).toEqual([99, 79, 59, 39, 19]);
  });
});

describe("the calendar", () => {
  const now = new Date(2026, 10, 27, 12).getTime();
  const iso = (...parts: [number, number, number, number]) => new Date(...parts).toISOString();
  const window = {
    ...{ name: "nights", start: "22:00", duration: "4h", timeZone: "UTC", open: false, kubectl: "" },
    groups: ["workers"],
  };

  test("an opening over midnight is a bar on both days, and a freeze is one of its own", () => {
    const night = { start: iso(2026, 10, 27, 22), end: iso(2026, 10, 28, 2) };
    const freeze = { start: iso(2026, 10, 30, 0), end: iso(2026, 11, 1, 0) };
    const days = calendar(
      [
        { ...window, mode: "Allow", openings: [night] },
        { ...window, name: "frozen", mode: "Deny", openings: [freeze] },
      ],
      undefined,
      now,
    );
    expect(days).toHaveLength(14);
    const shown = days.slice(0, 5).map(({ bars }) => bars.map(({ from, to, deny }) => [from, to, deny]));
    expect(shown).toEqual([[[22 / 24, 1, false]], [[0, 2 / 24, false]], [], [[0, 1, true]], []]);
  });

  test("of a group only its openings are shown, and the freezes that bind it", () => {
    const group = {
      ...{ group: "workers", always: true, note: "", kubectl: "" },
      openings: [{ start: iso(2026, 10, 27, 0), windows: [] }],
    };
    const freeze = { start: iso(2026, 10, 28, 0), end: iso(2026, 10, 28, 12) };
    const days = calendar(
      [
        { ...window, mode: "Allow", openings: [freeze] },
        { ...window, name: "others", mode: "Deny", groups: ["etcd"], openings: [freeze] },
      ],
      group,
      now,
    );
    expect(days.map(({ bars }) => bars.map(({ label }) => label))).toEqual(days.map(() => ["open"]));
  });
});
