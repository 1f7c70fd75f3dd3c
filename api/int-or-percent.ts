/** A count or a percentage, as Deployments have it (`intstr.IntOrString`). */
import * as z from "zod";

/** The schema generator turns the marked union into `x-kubernetes-int-or-string`; CEL limits it. */
export const IntOrPercent = z
  .union([
    z.int().min(0).max(100_000),
    z
      .string()
      .max(5)
      .regex(/^[0-9]{1,3}%$/),
  ])
  .meta({
    "x-kubernetes-int-or-string": true,
  });
export type IntOrPercent = z.output<typeof IntOrPercent>;

/** A limit of unavailable nodes: a percentage of `base` rounds down, but is at least 1. */
export function limitOf(value: IntOrPercent, base: number): number {
  if (typeof value === "number") return value;
  return Math.max(1, Math.floor((base * Number.parseInt(value, 10)) / 100));
}

/** A cumulative stage size: a percentage of `base` rounds up. */
export function stageSizeOf(value: IntOrPercent, base: number): number {
  if (typeof value === "number") return Math.min(value, base);
  return Math.min(base, Math.ceil((base * Number.parseInt(value, 10)) / 100));
}
