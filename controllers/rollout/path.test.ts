import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Release } from "../../api/release.ts";
import { nextRelease } from "./path.ts";
import { releaseOf } from "./test-fleet.ts";

const target = releaseOf("os-5", "5.0.0", { updatesFrom: "3.0.0" });
const stone = releaseOf("os-3", "3.0.0", { steppingStone: true });
const plain = releaseOf("os-4", "4.0.0");

function next(running: string | undefined, to: Release, releases: Release[], architecture = "amd64"): string {
  const found = nextRelease(running, to, releases, architecture);
  return "spec" in found ? found.metadata.name : found.reason;
}

describe("the way to a release", () => {
  test("leads over a stepping stone", () => {
    expect(next("2.0.0", target, [target, stone, plain])).toBe("os-3");
    expect(next("3.0.0", target, [target, stone, plain])).toBe("os-5");
  });

  test("doesn't lead over a release that is no stepping stone", () => {
    expect(next("2.0.0", target, [target, plain])).toBe("UpdateNotReachable");
  });

  test("is not begun if a later hop is not allowed", () => {
    const far = releaseOf("os-9", "9.0.0", { updatesFrom: "6.0.0" });
    expect(next("2.0.0", far, [far, stone])).toBe("UpdateNotReachable");
  });

  test("is one hop to an older or equal version", () => {
    expect(next("6.0.0", target, [target, stone])).toBe("os-5");
    expect(next("5.0.0", target, [target, stone])).toBe("os-5");
  });

  test("leads over no stone of another product or architecture", () => {
    const other = releaseOf("other", "3.5.0", { steppingStone: true, product: "router" });
    expect(next("3.0.0", target, [target, other])).toBe("os-5");
    expect(next("3.0.0", plain, [plain, stone], "arm64")).toBe("os-4");
  });

  test("isn't guessed while the running version is unknown", () => {
    expect(next(undefined, plain, [plain])).toBe("os-4");
    expect(next(undefined, target, [target])).toBe("WaitingForAgent");
    expect(next(undefined, plain, [plain, stone])).toBe("WaitingForAgent");
  });

  test("ends at the target after finitely many hops, each newer and each allowed", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 2, max: 30 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 29 }),
        fc.nat(8),
        (versions, from, window) => {
          const sorted = versions.toSorted((a, b) => a - b);
          const releases = sorted.map((version) =>
            releaseOf(`os-${version}`, `${version}.0.0`, {
              steppingStone: true,
              updatesFrom: `${Math.max(0, version - window)}.0.0`,
            }),
          );
          const last = releases.at(-1);
          if (last === undefined) throw new Error("no release");
          let running = from;
          for (let hops = 0; hops <= releases.length; hops++) {
            const hop = nextRelease(`${running}.0.0`, last, releases, "amd64");
            if (!("spec" in hop)) {
              expect(running).toBe(from);
              return;
            }
            const version = Number.parseInt(hop.spec.version, 10);
            if (version > running) expect(running).toBeGreaterThanOrEqual(version - window);
            running = version;
            if (hop === last) return;
          }
          throw new Error("the way has no end");
        },
      ),
    );
  });
});
