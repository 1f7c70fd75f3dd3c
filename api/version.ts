/** Order of versions as Omaha and os-release write them (`ReleaseVersion` of release.ts). */

function parts(version: string): { numbers: bigint[]; pre: string } {
  const [core = "", pre = ""] = version.split("+", 1)[0]?.split(/-(.*)/s, 2) ?? [];
  return { numbers: core.split(".").map((part) => (/^\d+$/.test(part) ? BigInt(part) : 0n)), pre };
}

/**
 * Negative if `a` is older than `b`, 0 if neither is. Missing numbers count as 0; a
 * pre-release (`1.2.0-rc.1`) is older than its release; what follows `+` doesn't count.
 */
export function compareVersions(a: string, b: string): number {
  const left = parts(a);
  const right = parts(b);
  for (let index = 0; index < Math.max(left.numbers.length, right.numbers.length); index++) {
    const difference = (left.numbers[index] ?? 0n) - (right.numbers[index] ?? 0n);
    if (difference !== 0n) return difference < 0n ? -1 : 1;
  }
  if (left.pre === right.pre) return 0;
  if (left.pre === "" || right.pre === "") return left.pre === "" ? 1 : -1;
  return left.pre.localeCompare(right.pre, "en", { numeric: true });
}
