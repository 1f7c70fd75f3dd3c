/** What is signed of an image: a short text, so that a person can read it and every language can write it. */
import { createHash, type KeyObject, sign, verify } from "node:crypto";

/** An object to fetch. */
export interface BlobRef {
  /** Mirrors in order of preference. */
  urls: readonly string[];
  /** Exact size in bytes. */
  size: number;
  /** SHA-256 in lower-case hex. */
  sha256: string;
}

export interface ImageStatement {
  product: string;
  version: string;
  /** "amd64" or "arm64". */
  architecture: string;
  /** dm-verity root hash, lower-case hex. */
  rootHash: string;
  image: Pick<BlobRef, "size" | "sha256">;
  manifest: Pick<BlobRef, "size" | "sha256">;
}

/**
 * The signed bytes: a first line that names the format, then one `name: value` line each,
 * in this order, each ended by a newline. Throws RangeError on a value with a control
 * character, which could pass for another line.
 */
export function statementText(statement: ImageStatement): Buffer {
  const fields: [string, string | number][] = [
    ["product", statement.product],
    ["version", statement.version],
    ["architecture", statement.architecture],
    ["root-hash", statement.rootHash],
    ["image-size", statement.image.size],
    ["image-sha256", statement.image.sha256],
    ["manifest-size", statement.manifest.size],
    ["manifest-sha256", statement.manifest.sha256],
  ];
  const lines = fields.map(([name, value]) => {
    const text = String(value);
    if (/\p{Cc}|[\u2028\u2029]/u.test(text))
      throw new RangeError(`${name} of the image has a control character`);
    return `${name}: ${text}\n`;
  });
  return Buffer.from(`slipway-image-v1\n${lines.join("")}`);
}

/** ed25519 (RFC 8032), 64 bytes. */
export function signStatement(statement: ImageStatement, privateKey: KeyObject): Buffer {
  return sign(null, statementText(statement), privateKey);
}

export function statementSignedBy(text: Buffer, signature: Uint8Array, publicKey: KeyObject): boolean {
  return signature.length === 64 && verify(null, text, publicKey, signature);
}

/** The 32 bytes of an ed25519 public key; throws TypeError for another kind of key. */
export function rawPublicKey(key: KeyObject): Buffer {
  if (key.asymmetricKeyType !== "ed25519") throw new TypeError("the key is no ed25519 key");
  // RFC 8410: SubjectPublicKeyInfo of 12 fixed bytes and the key.
  return key.export({ type: "spki", format: "der" }).subarray(-32);
}

/** Name of a key: the first 16 hex digits of the SHA-256 of its 32 bytes. */
export function keyId(publicKey: KeyObject): string {
  return createHash("sha256").update(rawPublicKey(publicKey)).digest("hex").slice(0, 16);
}
