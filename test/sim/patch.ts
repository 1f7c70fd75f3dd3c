/** Patches as the API server applies them, and copies of JSON. */
import { ApiError } from "../../runtime/client.ts";

/** A deep copy of plain JSON; faster than `structuredClone`. */
export function copy<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown) => copy(item)) as T;
  const result: Record<string, unknown> = {};
  for (const key in value) {
    const field: unknown = value[key];
    if (field !== undefined) result[key] = copy(field);
  }
  return result as T;
}

/** JSON merge patch (RFC 7386). */
export function mergePatch(target: Record<string, unknown>, patch: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete target[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      const below = target[key];
      const into = typeof below === "object" && below !== null && !Array.isArray(below) ? below : {};
      target[key] = into;
      mergePatch(into as Record<string, unknown>, value as Record<string, unknown>);
    } else if (value !== undefined) target[key] = value;
  }
}

export interface JsonOperation {
  op: string;
  path: string;
  value?: unknown;
}

/** The operations of RFC 6902 that Slipway uses: test, add, replace, remove on object members. */
export function jsonPatch(target: object, { op, path, value }: JsonOperation): void {
  const steps = path
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = steps.pop() ?? "";
  let at = target as Record<string, unknown>;
  for (const step of steps) at = (at[step] ??= {}) as Record<string, unknown>;
  if (op === "test") {
    if (JSON.stringify(at[last]) !== JSON.stringify(value))
      throw new ApiError("Invalid", `test of ${path} failed`, { status: 422 });
  } else if (op === "remove") delete at[last];
  else at[last] = value;
}

/**
 * Server-side apply on the first level of a map: `manager` owns what it applied last, so
 * what it leaves out goes, unless another owns it too. `owners`: by manager, its keys.
 */
export function applyFields(
  before: Record<string, unknown> | undefined,
  applied: Record<string, unknown> | undefined,
  manager: string,
  owners: Map<string, Set<string>>,
): Record<string, unknown> {
  const next = { ...before };
  const keys = new Set(Object.keys(applied ?? {}).filter((key) => applied?.[key] !== undefined));
  for (const key of owners.get(manager) ?? []) {
    const others = [...owners].some(([name, owned]) => name !== manager && owned.has(key));
    if (!keys.has(key) && !others) delete next[key];
  }
  for (const key of keys) next[key] = copy(applied?.[key]);
  owners.set(manager, keys);
  return next;
}
