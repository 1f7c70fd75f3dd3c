/**
 * What machines without our agent show to take a slot: a secret that follows from the installation's key and the name
 * of the group, so that nothing is stored for each group. Clients of these protocols know a URL and nothing else; where
 * they can fill in their own id, the secret may be theirs alone.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

/** Bytes of a key at least (RFC 2104 section 3: no shorter than the hash's output). */
const KEY_BYTES = 32;
/** Characters of base64url: 192 bits. */
const LENGTH = 32;

export class MachineCredentials {
  readonly #keys: readonly Buffer[];

  /** `keys`: of these the first makes secrets, all are accepted, so that one can be replaced. Throws where one is too short. */
  constructor(keys: readonly Buffer[]) {
    for (const key of keys) {
      if (key.length < KEY_BYTES) {
        throw new Error(
          `a key for the secrets of machines has ${key.length} bytes; ${KEY_BYTES} at least are needed`,
        );
      }
    }
    this.#keys = keys;
  }

  /** The secret of a group, or of one machine in it; undefined without a key. */
  secret(group: string, machine?: string): string | undefined {
    const [key] = this.#keys;
    return key === undefined ? undefined : derive(key, group, machine);
  }

  /** Whether `shown` is the secret of the group, or of this machine in it. */
  accepts(shown: string | undefined, group: string, machine: string): boolean {
    if (shown === undefined || shown.length !== LENGTH) return false;
    return this.#keys.some((key) =>
      [derive(key, group), derive(key, group, machine)].some((secret) => same(secret, shown)),
    );
  }
}

/** Keys as they stand in a file: one in each line, in base64. */
export function parseKeys(text: string): Buffer[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "").map((line) => Buffer.from(line, "base64"));
}

function derive(key: Buffer, group: string, machine?: string): string {
  const what = machine === undefined ? ["group", group] : ["machine", group, machine];
  return createHmac("sha256", key).update(JSON.stringify(what)).digest("base64url").slice(0, LENGTH);
}

function same(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
}
