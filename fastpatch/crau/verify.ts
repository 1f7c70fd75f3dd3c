/** Verifies a payload as update_engine does before it boots what it installed: hash of the whole, each operation, signature. */
import {
  constants,
  createHash,
  createPublicKey,
  type Hash,
  type KeyObject,
  publicDecrypt,
} from "node:crypto";
import { FastPatchError } from "../errors.ts";
import {
  openPayload,
  operationsOf,
  type Payload,
  type PayloadFile,
  type PayloadSignature,
} from "./payload.ts";
import { broken } from "./wire.ts";

/** Bytes read at once. */
const CHUNK = 1024 * 1024;
const MIN_BITS = 2048;
/** In version 1 of the format update_engine takes notice of this version only (kSignatureMessageCurrentVersion). */
const CURRENT = 2;
/** DigestInfo of a SHA-256 up to the hash itself (RFC 8017, 9.2). */
const DIGEST_INFO = Buffer.from("3031300d060960864801650304020105000420", "hex");

export interface Expected {
  key: KeyObject;
  /** Bytes, as the Release says. */
  size?: number;
  /** Lower-case hex, as the Release says. */
  sha256?: string;
}

export interface Verified {
  payload: Payload;
  /** Of the whole file, lower-case hex. */
  sha256: string;
  /** Whose hash was right. */
  operations: number;
  /** Index of the signature that fits. */
  signature: number;
}

/** An RSA public key from PEM. */
export function payloadKey(pem: string | Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw new FastPatchError("PayloadKeyInvalid", "the key can't be read", { cause: error });
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa" || bits < MIN_BITS)
    throw new FastPatchError(
      "PayloadKeyInvalid",
      `the key is ${key.asymmetricKeyType} with ${bits} bits, not RSA with ${MIN_BITS} or more`,
    );
  return key;
}

/** Reads the payload once from beginning to end. Compressed data is hashed as it is, never unpacked. */
export async function verifyPayload(file: PayloadFile, expected: Expected): Promise<Verified> {
  if (expected.size !== undefined && file.size !== expected.size)
    throw new FastPatchError("PayloadDamaged", `the file has ${file.size} bytes, not ${expected.size}`);
  const payload = await openPayload(file);
  const { manifest, metadataSize, blobsAt } = payload;
  const whole = createHash("sha256");
  const signed = createHash("sha256");
  await feed(file, 0, metadataSize, [whole, signed]);
  if (payload.metadataSignatures.length > 0)
    fits(payload, payload.metadataSignatures, signed.copy().digest(), expected.key, "metadata");
  // In version 2 the signature over the payload leaves that over the metadata out.
  await feed(file, metadataSize, blobsAt - metadataSize, [whole]);
  let operations = 0;
  for (const { what, operation } of operationsOf(manifest)) {
    const { dataOffset, dataLength, sha256 } = operation;
    if (dataLength === 0) continue;
    if (sha256 === undefined) throw broken(what, "has data without a hash");
    const own = createHash("sha256");
    await feed(file, blobsAt + dataOffset, dataLength, [whole, signed, own]);
    if (own.digest("hex") !== sha256)
      throw new FastPatchError(
        "PayloadDamaged",
        `the data of ${what} have another hash than the manifest says`,
      );
    operations += 1;
  }
  const signature = fits(payload, payload.signatures, signed.digest(), expected.key, "payload");
  const { signatures } = manifest;
  if (signatures !== undefined) await feed(file, blobsAt + signatures.offset, signatures.size, [whole]);
  const sha256 = whole.digest("hex");
  if (expected.sha256 !== undefined && sha256 !== expected.sha256)
    throw new FastPatchError("PayloadDamaged", `the file has the SHA-256 ${sha256}, not ${expected.sha256}`);
  return { payload, sha256, operations, signature };
}

async function feed(file: PayloadFile, from: number, length: number, hashes: readonly Hash[]): Promise<void> {
  for (let at = from; at < from + length; at += CHUNK) {
    const bytes = await file.read(at, Math.min(CHUNK, from + length - at));
    for (const hash of hashes) hash.update(bytes);
  }
}

/** Index of the signature by `key`. */
function fits(
  { version }: Payload,
  signatures: readonly PayloadSignature[],
  digest: Buffer,
  key: KeyObject,
  of: string,
): number {
  if (signatures.length === 0) throw new FastPatchError("PayloadUntrusted", `the ${of} is not signed`);
  const wanted = Buffer.concat([DIGEST_INFO, digest]);
  const found = signatures.findIndex(({ data }) => opened(key, data)?.equals(wanted) === true);
  const signature = signatures[found];
  if (signature === undefined)
    throw new FastPatchError(
      "PayloadUntrusted",
      `none of ${signatures.length} signatures of the ${of} is by this key over these bytes`,
    );
  if (version === 1 && signature.version !== CURRENT)
    throw new FastPatchError(
      "PayloadUntrusted",
      `the signature by this key has version ${signature.version ?? 0}; update_engine takes ${CURRENT} only`,
    );
  return found;
}

/** What an RSA signature holds (PKCS #1 v1.5); undefined where it is of another length, or padded otherwise. */
function opened(key: KeyObject, data: Uint8Array): Buffer | undefined {
  try {
    return publicDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, data);
  } catch {
    return undefined;
  }
}
