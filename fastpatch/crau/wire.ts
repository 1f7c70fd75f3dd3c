/**
 * Protocol Buffers' wire format, as far as a payload's manifest needs it: varints, and fields with a length
 * (protobuf.dev, "Encoding"). By hand, because a payload is not trusted yet when it is read: each length is held against
 * what is there, and a field that can stand once only must stand once.
 */
import { FastPatchError } from "../errors.ts";

/** A varint of 64 bits has ten bytes at most. */
const VARINT_BYTES = 10n;
const BITS = 7n;

export interface Field {
  number: number;
  /** Of a varint; of a field of 32 or 64 bits, which a manifest has no use for, undefined like `bytes`. */
  value?: bigint;
  bytes?: Uint8Array;
}

/** The fields of a message in their order. `what` names the message to people. */
export function* fieldsOf(message: Uint8Array, what: string): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let index = 0n; index < VARINT_BYTES; index++) {
      const byte = message[at++];
      if (byte === undefined) throw broken(what, "ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << (index * BITS);
      if (byte < 0x80) {
        if (value >= 1n << 64n) break;
        return value;
      }
    }
    throw broken(what, "has a number of more than 64 bits");
  };
  const skip = (length: bigint): Uint8Array => {
    if (length > BigInt(message.length - at)) throw broken(what, "has a field that is longer than the rest");
    const bytes = message.subarray(at, at + Number(length));
    at += Number(length);
    return bytes;
  };
  while (at < message.length) {
    const key = varint();
    const number = Number(key >> 3n);
    if (number < 1 || number >= 2 ** 29) throw broken(what, "has a field without a number");
    switch (key & 7n) {
      case 0n:
        yield { number, value: varint() };
        break;
      case 1n:
        skip(8n);
        yield { number };
        break;
      case 2n:
        yield { number, bytes: skip(varint()) };
        break;
      case 5n:
        skip(4n);
        yield { number };
        break;
      default:
        throw broken(what, "has a field of an unknown type");
    }
  }
}

/** Fields by number, each with all that stands under it; those that `wanted` does not name are left out. */
export class Message {
  readonly #fields = new Map<number, Field[]>();
  readonly #what: string;

  /** `most`: fields of one number. */
  constructor(bytes: Uint8Array, what: string, wanted: readonly number[], most: number) {
    this.#what = what;
    for (const field of fieldsOf(bytes, what)) {
      if (!wanted.includes(field.number)) continue;
      const same = this.#fields.get(field.number);
      if (same === undefined) this.#fields.set(field.number, [field]);
      else if (same.push(field) > most) throw broken(what, `has more than ${most} of field ${field.number}`);
    }
  }

  /** A number of at most 2^53 - 1; `fallback` where it is absent. */
  number(field: number, fallback: number): number;
  number(field: number): number | undefined;
  number(field: number, fallback?: number): number | undefined {
    const value = this.big(field);
    if (value === undefined) return fallback;
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(this.#what, `says ${value} in field ${field}`);
    return Number(value);
  }

  big(field: number): bigint | undefined {
    const found = this.#once(field);
    if (found !== undefined && found.value === undefined)
      throw broken(this.#what, `has no number in field ${field}`);
    return found?.value;
  }

  bytes(field: number): Uint8Array | undefined {
    const found = this.#once(field);
    if (found !== undefined && found.bytes === undefined)
      throw broken(this.#what, `has no bytes in field ${field}`);
    return found?.bytes;
  }

  /** Messages that may stand many times. */
  all(field: number): Uint8Array[] {
    return (this.#fields.get(field) ?? []).map(({ bytes }) => {
      if (bytes === undefined) throw broken(this.#what, `has no bytes in field ${field}`);
      return bytes;
    });
  }

  #once(field: number): Field | undefined {
    const found = this.#fields.get(field) ?? [];
    if (found.length > 1) throw broken(this.#what, `has field ${field} ${found.length} times`);
    return found[0];
  }
}

export function broken(what: string, how: string): FastPatchError {
  return new FastPatchError("PayloadInvalid", `${what} ${how}`);
}
