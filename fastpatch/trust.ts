/**
 * Whom a machine trusts: a file on the machine, never what a cluster says. Keys change by
 * overlap: the new key is listed beside the old one (with `notBefore` if its time is yet to
 * come), images carry both signatures, then the old one gets a `notAfter`.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import * as z from "zod";
import { FastPatchError } from "./errors.ts";
import { type ImageStatement, keyId, rawPublicKey, statementSignedBy, statementText } from "./statement.ts";

export interface TrustedKey {
  /** `keyId` of statement.ts. */
  id: string;
  publicKey: KeyObject;
  /** Milliseconds since the epoch; the key counts from then, and until then. */
  notBefore?: number;
  notAfter?: number;
}

export interface TrustRoots {
  keys: readonly TrustedKey[];
  /** Different keys that must have signed. */
  threshold: number;
  /** The machine's own consent to unsigned images; the group's is needed as well. */
  allowUnsigned: boolean;
}

/** A signature on an image's statement. */
export interface ImageSignature {
  keyId: string;
  /** 64 bytes. */
  signature: Uint8Array;
}

/** More signatures than this are not looked at. */
const MAX_SIGNATURES = 16;

const Time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
const TrustFile = z.strictObject({
  threshold: z.int().min(1).max(16).default(1),
  allowUnsigned: z.boolean().default(false),
  keys: z
    .array(
      z.strictObject({
        publicKey: z.string().regex(/^[A-Za-z0-9+/]{43}=$/, "is not 32 bytes in base64"),
        notBefore: Time.optional(),
        notAfter: Time.optional(),
      }),
    )
    .max(16)
    .default([]),
});

/** An entry of a trust file for a key. */
export function trustEntry(publicKey: KeyObject): { publicKey: string } {
  return { publicKey: rawPublicKey(publicKey).toString("base64") };
}

/** Reads a trust file: `{"threshold": 1, "allowUnsigned": false, "keys": [{"publicKey": BASE64, "notBefore": TIME, "notAfter": TIME}]}`. */
export function parseTrust(text: string): TrustRoots {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FastPatchError("TrustInvalid", "the trust file is no JSON", { cause: error });
  }
  const parsed = TrustFile.safeParse(json);
  if (!parsed.success)
    throw new FastPatchError("TrustInvalid", `the trust file is not valid: ${z.prettifyError(parsed.error)}`);
  const { threshold, allowUnsigned } = parsed.data;
  const keys = parsed.data.keys.map(({ publicKey, notBefore, notAfter }): TrustedKey => {
    const x = Buffer.from(publicKey, "base64").toString("base64url");
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    return {
      id: keyId(key),
      publicKey: key,
      ...(notBefore === undefined ? {} : { notBefore }),
      ...(notAfter === undefined ? {} : { notAfter }),
    };
  });
  if (new Set(keys.map((key) => key.id)).size !== keys.length) {
    throw new FastPatchError("TrustInvalid", "the trust file lists a key twice");
  }
  if (keys.length < threshold && !(keys.length === 0 && allowUnsigned)) {
    throw new FastPatchError(
      "TrustInvalid",
      `the trust file asks for ${threshold} signatures of ${keys.length} keys`,
    );
  }
  return { keys, threshold, allowUnsigned };
}

/**
 * Accepts the statement or throws. `now` is wall time, for keys with a term. `unsignedAllowed`
 * is the group's consent. A wrong signature by a key that is trusted is refused whatever the
 * consents: somebody changed what was signed.
 */
export function verifySignatures(
  statement: ImageStatement,
  signatures: readonly ImageSignature[],
  roots: TrustRoots,
  options: { now: number; unsignedAllowed: boolean },
): "signed" | "unsigned" {
  const text = statementText(statement);
  const good = new Set<string>();
  const outOfTerm: string[] = [];
  for (const { keyId: id, signature } of signatures.slice(0, MAX_SIGNATURES)) {
    const key = roots.keys.find((candidate) => candidate.id === id);
    if (key === undefined) continue;
    if (!statementSignedBy(text, signature, key.publicKey)) {
      throw new FastPatchError(
        "SignatureInvalid",
        `the signature by key ${id} does not fit the image that the release describes`,
      );
    }
    const inTerm = options.now >= (key.notBefore ?? -Infinity) && options.now <= (key.notAfter ?? Infinity);
    if (inTerm) good.add(id);
    else outOfTerm.push(id);
  }
  if (good.size > 0 && good.size >= roots.threshold) return "signed";
  if (roots.allowUnsigned && options.unsignedAllowed) return "unsigned";
  const term =
    outOfTerm.length === 0 ? "" : `; ${outOfTerm.join(", ")} is out of its term by this machine's clock`;
  throw new FastPatchError(
    "Unsigned",
    `${good.size} of ${roots.threshold} signatures by keys that this machine trusts${term}`,
  );
}
