/**
 * Who may sign in by Hawk: a file of the form
 *
 * ```yaml
 * users:
 *   - name: alice            # --user
 *     token: 9c1f...         # --key
 *     as: alice@example.org  # whose rights RBAC is asked for
 *     groups: [platform]
 * ```
 *
 * It is a Secret of the installation and is read again when it changes. The gateway never writes it: whoever can add
 * users here can act as anybody, and that is a right to hand out by RBAC on the Secret alone.
 */
import { parse } from "yaml";
import * as z from "zod";
import type { Person } from "../../runtime/access.ts";
import type { HawkKey } from "../hawk/verify.ts";

const MAX_USERS = 1000;
/** CoreUpdate's own tokens have 32 hex digits, 128 bits. */
const MIN_TOKEN = 32;

const File = z.strictObject({
  users: z
    .array(
      z.strictObject({
        name: z
          .string()
          .min(1)
          .max(128)
          .regex(/^[ !#-[\]-~]+$/, "must be printable ASCII without quotes and backslashes"),
        token: z.string().min(MIN_TOKEN).max(256),
        as: z
          .string()
          .min(1)
          .max(253)
          .refine((name) => !name.startsWith("system:") || name.startsWith("system:serviceaccount:"), {
            error: "names of Kubernetes' own components can't be used",
          }),
        groups: z
          .array(z.string().min(1).max(253))
          .max(64)
          .default([])
          .refine((groups) => !groups.includes("system:masters"), {
            error: "system:masters may do everything, whatever RBAC says: grant rights instead",
          }),
        requireBodyHash: z.boolean().default(false),
      }),
    )
    .max(MAX_USERS)
    .refine((users) => new Set(users.map(({ name }) => name)).size === users.length, {
      error: "two users have the same name",
    }),
});

export interface User extends HawkKey {
  person: Person;
}

/** Throws with a sentence that names no token. */
export function parseUsers(text: string): ReadonlyMap<string, User> {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch {
    throw new Error("it is no YAML");
  }
  const result = File.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new Error(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not understood"}`);
  }
  return new Map(
    result.data.users.map(({ name, token, as, groups, requireBodyHash }) => [
      name,
      {
        ...{ id: name, key: token, hashRequired: requireBodyHash },
        // What the API server adds to whoever signs in there.
        person: { username: as, groups: [...new Set([...groups, "system:authenticated"])] },
      },
    ]),
  );
}
