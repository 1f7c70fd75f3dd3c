/**
 * What a gateway lets a browser keep and gets back unread and unchanged: JSON, compressed, sealed by AES-256-GCM with a
 * key that all gateways share. So no gateway remembers anybody, and each can open what another one sealed.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { Random } from "../../ports/random.ts";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Of what is sealed, uncompressed, bytes: a user in a thousand groups. */
const MAX_PLAIN = 64 * 1024;

export class Seal {
  readonly #keys: readonly Buffer[];
  readonly #purpose: Buffer;
  readonly #random: Random;

  /** `keys`: the first seals, all open, so that one can be replaced. `purpose`: what is sealed for one opens for no other. Throws where a key is too short or there is none. */
  constructor(keys: readonly Buffer[], purpose: string, random: Random) {
    if (keys.length === 0) throw new Error("sessions need a key: at least one of 32 bytes, base64");
    const short = keys.find((key) => key.length < KEY_BYTES);
    if (short !== undefined) {
      throw new Error(`a key for sessions has ${short.length} bytes; ${KEY_BYTES} at least are needed`);
    }
    // Keys may be longer than AES takes; each purpose has its own, so that nonces of one say nothing of another.
    this.#keys = keys.map((key) =>
      Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), `slipway ${purpose}`, KEY_BYTES)),
    );
    this.#purpose = Buffer.from(purpose);
    this.#random = random;
  }

  /** base64url. */
  close(value: unknown): string {
    const [key] = this.#keys;
    if (key === undefined) throw new Error("there is no key");
    const nonce = nonceOf(this.#random);
    const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(this.#purpose);
    const sealed = Buffer.concat([cipher.update(deflateRawSync(JSON.stringify(value))), cipher.final()]);
    return Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString("base64url");
  }

  /** Undefined for what no key of ours sealed for this purpose. */
  open(text: string): unknown {
    const whole = Buffer.from(text, "base64url");
    if (whole.length <= NONCE_BYTES + TAG_BYTES) return undefined;
    const nonce = whole.subarray(0, NONCE_BYTES);
    const sealed = whole.subarray(NONCE_BYTES, whole.length - TAG_BYTES);
    for (const key of this.#keys) {
      const options = { authTagLength: TAG_BYTES };
      const decipher = createDecipheriv("aes-256-gcm", key, nonce, options).setAAD(this.#purpose);
      decipher.setAuthTag(whole.subarray(whole.length - TAG_BYTES));
      try {
        const plain = Buffer.concat([decipher.update(sealed), decipher.final()]);
        return JSON.parse(inflateRawSync(plain, { maxOutputLength: MAX_PLAIN }).toString()) as unknown;
      } catch {
        // Another key's, or nobody's.
      }
    }
    return undefined;
  }
}

/** 96 random bits of a UUID's 122: those that are not fixed by its version and variant (RFC 9562). */
function nonceOf(random: Random): Buffer {
  const hex = random.uuid().replaceAll("-", "");
  return Buffer.from(hex.slice(0, 12) + hex.slice(20), "hex");
}
