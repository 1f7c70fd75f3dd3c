import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareVersions } from "./version.ts";

describe("versions", () => {
  it.each([
    ["4081.2.0", "4081.10.0"],
    ["1.2.0-rc.1", "1.2.0"],
    ["1.2.0-rc.2", "1.2.0-rc.10"],
    ["1.2", "1.2.1"],
    ["9.0.0", "10"],
  ])("%s is older than %s", (older, newer) => {
    expect(compareVersions(older, newer)).toBeLessThan(0);
    expect(compareVersions(newer, older)).toBeGreaterThan(0);
  });

  it.each([
    ["1.2", "1.2.0"],
    ["1.2.0+build.5", "1.2.0"],
  ])("%s is as old as %s", (a, b) => {
    expect(compareVersions(a, b)).toBe(0);
  });

  it("are in a total order", () => {
    const version = fc.stringMatching(/^[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-[a-z0-9]{1,3})?$/);
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        const [x = "", y = "", z = ""] = [a, b, c].sort(compareVersions);
        return compareVersions(x, y) <= 0 && compareVersions(y, z) <= 0 && compareVersions(x, z) <= 0;
      }),
    );
  });
});
