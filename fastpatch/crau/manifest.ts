/**
 * The manifest of a payload of update_engine: DeltaArchiveManifest of update_metadata.proto, as CoreOS and Flatcar have
 * it in version 1 and Android and ChromeOS in version 2. It says which bytes of the payload make which blocks of a
 * partition; nothing is applied here.
 */
import { broken, Message } from "./wire.ts";

/** Operations of a payload: version 1 addresses 4 GiB, in pieces of 1 MiB. */
const MAX_OPERATIONS = 65_536;
/** Extents of all operations: each costs memory, and a damaged manifest may have millions. */
const MAX_EXTENTS = 262_144;
const MAX_PARTITIONS = 64;
const MAX_BLOCK_SIZE = 1 << 20;
/** Start of an extent that is not written anywhere. */
const HOLE = 2n ** 64n - 1n;

const TYPES = [
  ...["REPLACE", "REPLACE_BZ", "MOVE", "BSDIFF", "SOURCE_COPY", "SOURCE_BSDIFF", "ZERO", "DISCARD"],
  ...["REPLACE_XZ", "PUFFDIFF", "BROTLI_BSDIFF", "ZUCCHINI", "LZ4DIFF_BSDIFF", "LZ4DIFF_PUFFDIFF"],
] as const;
/** Those that make blocks without data of their own. */
const WITHOUT_DATA: readonly string[] = ["MOVE", "SOURCE_COPY", "ZERO", "DISCARD"];
/** Procedures of version 1 beside the partition. */
const PROCEDURES = ["kernel", "pcr-policy"] as const;

export interface Extent {
  /** First block; absent for a hole. */
  start?: number;
  blocks: number;
}

export interface Operation {
  /** As update_metadata.proto names it; `TYPE_n` for one that is newer than this reader. */
  type: string;
  /** From the beginning of the blobs, bytes. */
  dataOffset: number;
  dataLength: number;
  destination: Extent[];
  /** Of the data as it lies in the payload, lower-case hex. */
  sha256?: string;
}

export interface PartitionInfo {
  /** Bytes. */
  size: number;
  sha256: string;
}

export interface Partition {
  /** In version 1 `root`, and the names of procedures. */
  name: string;
  from?: PartitionInfo;
  to?: PartitionInfo;
  operations: Operation[];
}

export interface Manifest {
  blockSize: number;
  partitions: Partition[];
  /** For clients that are older than procedures; others take no notice of them. */
  noops: Operation[];
  /** Where the signatures lie, from the beginning of the blobs, bytes; absent where there are none. */
  signatures?: { offset: number; size: number };
}

export type PayloadVersion = 1 | 2;

export function parseManifest(bytes: Uint8Array, version: PayloadVersion): Manifest {
  const top = new Message(bytes, "the manifest", [1, 2, 3, 4, 5, 8, 9, 10, 13], MAX_OPERATIONS);
  const reader = new Reader();
  const blockSize = top.number(3, 4096);
  if (blockSize < 512 || blockSize > MAX_BLOCK_SIZE)
    throw broken("the manifest", `has blocks of ${blockSize} bytes`);
  const offset = top.number(4);
  const size = top.number(5);
  if ((offset === undefined) !== (size === undefined))
    throw broken("the manifest", "says only half of where its signatures are");
  const partitions =
    version === 1
      ? [
          reader.partition("root", top.all(1), top.bytes(8), top.bytes(9)),
          ...top.all(10).map((procedure) => reader.procedure(procedure)),
        ]
      : top.all(13).map((partition) => reader.named(partition));
  if (partitions.length > MAX_PARTITIONS)
    throw broken("the manifest", `has more than ${MAX_PARTITIONS} partitions`);
  return {
    blockSize,
    partitions,
    noops: version === 1 ? reader.operations("noop", top.all(2)) : [],
    ...(offset === undefined || size === undefined ? {} : { signatures: { offset, size } }),
  };
}

/** Counts what it has read, over all partitions. */
class Reader {
  #operations = 0;
  #extents = 0;

  /** InstallProcedure of version 1. */
  procedure(bytes: Uint8Array): Partition {
    const message = new Message(bytes, "a procedure", [1, 2, 3, 4], MAX_OPERATIONS);
    const type = message.number(1, 0);
    const name = PROCEDURES[type] ?? `procedure-${type}`;
    return this.partition(name, message.all(2), message.bytes(3), message.bytes(4));
  }

  /** PartitionUpdate of version 2. */
  named(bytes: Uint8Array): Partition {
    const message = new Message(bytes, "a partition", [1, 6, 7, 8], MAX_OPERATIONS);
    const name = Buffer.from(message.bytes(1) ?? []).toString("latin1");
    if (!/^[\w.-]{1,64}$/.test(name)) throw broken("a partition", "has no name, or a strange one");
    return this.partition(name, message.all(8), message.bytes(6), message.bytes(7));
  }

  partition(
    name: string,
    operations: readonly Uint8Array[],
    from: Uint8Array | undefined,
    to: Uint8Array | undefined,
  ): Partition {
    return {
      name,
      ...(from === undefined ? {} : { from: infoOf(name, from) }),
      ...(to === undefined ? {} : { to: infoOf(name, to) }),
      operations: this.operations(name, operations),
    };
  }

  operations(of: string, list: readonly Uint8Array[]): Operation[] {
    this.#operations += list.length;
    if (this.#operations > MAX_OPERATIONS)
      throw broken("the manifest", `has more than ${MAX_OPERATIONS} operations`);
    return list.map((bytes, index) => this.#operation(bytes, `operation ${index} of ${of}`));
  }

  #operation(bytes: Uint8Array, what: string): Operation {
    const message = new Message(bytes, what, [1, 2, 3, 6, 8], MAX_EXTENTS);
    const number = message.number(1);
    if (number === undefined) throw broken(what, "has no type");
    const type = TYPES[number] ?? `TYPE_${number}`;
    const dataLength = message.number(3, 0);
    const sha256 = message.bytes(8);
    if (sha256 !== undefined && sha256.length !== 32) throw broken(what, "has a hash that is no SHA-256");
    const bare = WITHOUT_DATA.includes(type);
    if (bare && dataLength > 0) throw broken(what, `is ${type} and has data`);
    if (!bare && dataLength === 0 && number < TYPES.length) throw broken(what, `is ${type} and has no data`);
    return {
      type,
      dataOffset: message.number(2, 0),
      dataLength,
      destination: message.all(6).map((extent) => this.#extent(extent, what)),
      ...(sha256 === undefined ? {} : { sha256: Buffer.from(sha256).toString("hex") }),
    };
  }

  #extent(bytes: Uint8Array, what: string): Extent {
    this.#extents += 1;
    if (this.#extents > MAX_EXTENTS) throw broken("the manifest", `has more than ${MAX_EXTENTS} extents`);
    const message = new Message(bytes, `an extent of ${what}`, [1, 2], 1);
    const blocks = message.number(2, 0);
    return message.big(1) === HOLE ? { blocks } : { start: message.number(1, 0), blocks };
  }
}

function infoOf(name: string, bytes: Uint8Array): PartitionInfo {
  const message = new Message(bytes, `what ${name} says of itself`, [1, 2], 1);
  const hash = message.bytes(2);
  const size = message.number(1);
  if (size === undefined || hash?.length !== 32)
    throw broken(`what ${name} says of itself`, "has no size, or no SHA-256");
  return { size, sha256: Buffer.from(hash).toString("hex") };
}
