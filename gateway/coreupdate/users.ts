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
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import * as z from "zod";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Person } from "../../runtime/access.ts";
import type { HawkKey } from "../hawk/verify.ts";

/** Kubernetes swaps the files of a Secret without telling: look this often, ms. */
const PERIOD = 10_000;
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

export interface UserFileOptions {
  path: string;
  clock: Clock;
  log: Logger;
}

export class UserFile {
  readonly #options: UserFileOptions;
  #text: string;
  #users: ReadonlyMap<string, User>;
  #cancel: Cancel | undefined;
  #stopped = false;

  private constructor(options: UserFileOptions, text: string) {
    this.#options = options;
    this.#text = text;
    this.#users = parseUsers(text);
    this.#schedule();
  }

  /** Throws where the file can't be read or used. */
  static async open(options: UserFileOptions): Promise<UserFile> {
    const text = await readFile(options.path, "utf8");
    try {
      return new UserFile(options, text);
    } catch (error) {
      throw new Error(`${options.path}: ${(error as Error).message}`, { cause: error });
    }
  }

  get users(): ReadonlyMap<string, User> {
    return this.#users;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Looks for changes now. What can't be used leaves the former users in place. */
  async refresh(): Promise<void> {
    const { path, log } = this.#options;
    try {
      const text = await readFile(path, "utf8");
      if (text === this.#text) return;
      this.#users = parseUsers(text);
      this.#text = text;
      log.info("users of the CoreUpdate API changed", { path, users: this.#users.size });
    } catch (error) {
      log.error("can't use the changed users of the CoreUpdate API; the former stay", error, { path });
    }
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(PERIOD, () => {
      void this.refresh().then(() => this.#schedule());
    });
  }
}
