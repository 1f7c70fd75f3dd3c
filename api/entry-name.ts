/** Name of an entry in a list of a spec: what statuses, metrics and messages call it. */
import * as z from "zod";
import { form } from "./rules.ts";

/** `most`: characters; a label's 63 (RFC 1123 section 2.1), fewer where it becomes a part of another name. */
export function entryName(most = 63): z.ZodString {
  return z
    .string()
    .min(1)
    .max(most)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
    .meta(form("must be a name: lower-case letters, digits and `-`"));
}
