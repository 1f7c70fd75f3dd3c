/**
 * What machines without our agent show to take a slot: a secret that follows from the installation's key and the name
 * of the group, so that nothing is stored for each group. Clients of these protocols know a URL and nothing else; where
 * they can fill in their own id, the secret may be theirs alone. Who has a certificate may show that instead.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

/** Bytes of a key at least (RFC 2104 section 3: no shorter than the hash's output). */
const KEY_BYTES = 32;
/** Characters of base64url: 192 bits. */
const LENGTH = 32;

/** Whom a certificate names that an authority for machines signed. */
export interface MachineCertificate {
  /** Its organizations (RFC 4519 section 2.19): groups, and `registry/NAME` for a key space. */
  groups: readonly string[];
  /** Its common name: the id that the machine asks under; without one it is good for the whole group, like its secret. */
  machine: string | undefined;
}

export interface ShownCredentials {
  secret?: string | undefined;
  certificate?: MachineCertificate | undefined;
}

/** What a machine of the group is told whose credentials are not accepted. */
export function whyRefused(
  { secret, certificate }: ShownCredentials,
  group: string,
  machine: string,
): string {
  return secret === undefined && certificate !== undefined
    ? `The certificate names another group than ${group} or another machine than ${machine}.`
    : `The secret of group ${group} is missing in the URL, or is another one. "kubectl slipway machines secret" prints it.`;
}

/** As Node.js gives a subject: an attribute that occurs several times is a list. */
export function certificateOf(
  subject: Readonly<Record<string, string | readonly string[] | undefined>>,
): MachineCertificate {
  const machine = subject["CN"];
  // Of several common names none is the machine's: such a certificate is good for nothing.
  if (machine !== undefined && typeof machine !== "string") return { groups: [], machine: undefined };
  return { groups: [subject["O"] ?? []].flat(), machine };
}

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

  /** Whether what is shown is good for the group, or for this machine in it; without `machine`, for any of them. */
  accepts({ secret, certificate }: ShownCredentials, group: string, machine?: string): boolean {
    return this.#isSecret(secret, group, machine) || names(certificate, group, machine);
  }

  #isSecret(shown: string | undefined, group: string, machine: string | undefined): boolean {
    if (shown === undefined || shown.length !== LENGTH) return false;
    return this.#keys.some((key) =>
      [derive(key, group), derive(key, group, machine)].some((secret) => same(secret, shown)),
    );
  }
}

function names(
  certificate: MachineCertificate | undefined,
  group: string,
  machine: string | undefined,
): boolean {
  if (certificate === undefined || !certificate.groups.includes(group)) return false;
  return certificate.machine === undefined || machine === undefined || certificate.machine === machine;
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
