/** Durations as people write them: `90s`, `15m`, `1h30m`. */
import * as z from "zod";
import { form } from "./rules.ts";

const PATTERN = /^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$/;

export const Duration = z
  .string()
  .min(2)
  .max(20)
  .regex(PATTERN)
  .meta(form("must be a duration such as 90s, 15m or 1h30m"));

/** Milliseconds of a `Duration`. Throws `RangeError` on text that is none: the schema refused it before. */
export function parseDuration(text: string): number {
  const match = PATTERN.exec(text);
  if (match === null || text === "")
    throw new RangeError(`"${text}" is no duration such as 90s, 15m or 1h30m`);
  const part = (index: number): number => Number.parseInt(match[index] ?? "0", 10);
  return ((part(1) * 60 + part(2)) * 60 + part(3)) * 1000;
}
