/**
 * Writes payloads as delta_generator of update_engine does: blobs of 1 MiB and less, each with its hash, a signature
 * over all that lies before it. For tests; it knows nothing of the code that reads payloads.
 */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

export const payloadKeys = (): { privateKey: KeyObject; pem: string } => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = createPublicKey(privateKey).export({ type: "spki", format: "pem" });
  return { privateKey, pem };
};

export function varint(value: bigint | number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
export const number = (field: number, value: bigint | number): Buffer =>
  Buffer.concat([varint(field * 8), varint(value)]);
export const bytes = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);

const sha256 = (data: Uint8Array): Buffer => createHash("sha256").update(data).digest();
const BLOCK = 4096;
const HOLE = 2n ** 64n - 1n;

export interface Written {
  blobs: readonly Uint8Array[];
  /** Each with the version of its signature, in their order. */
  signers: readonly { key: KeyObject; version: number }[];
  format?: 1 | 2;
  /** Data of a procedure, as Flatcar's kernel. */
  kernel?: Uint8Array;
  /** What a manifest says otherwise than it is. */
  change?: {
    operation?: (fields: Buffer, index: number) => Buffer;
    manifest?: (fields: Buffer) => Buffer;
    signaturesOffset?: number;
  };
}

export function writePayload({ blobs, signers, format = 1, kernel, change = {} }: Written): Buffer {
  let at = 0;
  let block = 0;
  const operation = (data: Uint8Array, index: number): Buffer => {
    const blocks = Math.ceil(data.length / BLOCK);
    const extent = Buffer.concat([number(1, block), number(2, blocks)]);
    const fields = Buffer.concat([
      ...[number(1, 1), number(2, at), number(3, data.length)],
      ...[bytes(6, extent), bytes(8, sha256(data))],
    ]);
    at += data.length;
    block += blocks;
    return change.operation?.(fields, index) ?? fields;
  };
  const operations = blobs.map(operation);
  const info = (size: number): Buffer =>
    Buffer.concat([number(1, size), bytes(2, sha256(Buffer.from(`${size}`)))]);
  const root = info(block * BLOCK);
  block = 0;
  const procedure =
    kernel === undefined
      ? []
      : [
          bytes(
            10,
            Buffer.concat([
              number(1, 0),
              bytes(2, operation(kernel, blobs.length)),
              bytes(4, info(kernel.length)),
            ]),
          ),
        ];
  const signaturesSize = signaturesOf(
    signers.map(({ version }) => ({ version, data: Buffer.alloc(256) })),
  ).length;
  const offset = change.signaturesOffset ?? at;
  const noop = Buffer.concat([
    ...[number(1, 0), number(2, at), number(3, signaturesSize)],
    bytes(6, Buffer.concat([number(1, HOLE), number(2, 1)])),
  ]);
  const about = signers.length === 0 ? [] : [number(4, offset), number(5, signaturesSize)];
  const fields = Buffer.concat(
    format === 1
      ? [
          ...operations.map((one) => bytes(1, one)),
          ...(signers.length === 0 ? [] : [bytes(2, noop)]),
          ...[number(3, BLOCK), ...about, bytes(9, root), ...procedure],
        ]
      : [
          ...[number(3, BLOCK), ...about, number(12, 0)],
          bytes(
            13,
            Buffer.concat([
              ...[bytes(1, Buffer.from("system")), bytes(7, root)],
              ...operations.map((one) => bytes(8, one)),
            ]),
          ),
        ],
  );
  const manifest = change.manifest?.(fields) ?? fields;
  const header = Buffer.alloc(format === 1 ? 20 : 24);
  header.write("CrAU");
  header.writeBigUInt64BE(BigInt(format), 4);
  header.writeBigUInt64BE(BigInt(manifest.length), 12);
  if (format === 2) header.writeUInt32BE(signaturesSize, 20);
  const metadata = Buffer.concat([header, manifest]);
  const signed = (data: Buffer): Buffer =>
    signaturesOf(signers.map(({ key, version }) => ({ version, data: sign("RSA-SHA256", data, key) })));
  const data = Buffer.concat([...blobs, ...(kernel === undefined ? [] : [kernel])]);
  return Buffer.concat([
    ...[metadata, format === 1 ? Buffer.alloc(0) : signed(metadata), data],
    signers.length === 0 ? Buffer.alloc(0) : signed(Buffer.concat([metadata, data])),
  ]);
}

function signaturesOf(list: readonly { version: number; data: Buffer }[]): Buffer {
  return Buffer.concat(
    list.map(({ version, data }) => bytes(1, Buffer.concat([number(1, version), bytes(2, data)]))),
  );
}
