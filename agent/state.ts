/**
 * The agent's memory on the machine's state partition: one record, in two copies.
 *
 * A copy is a header of 64 bytes and a JSON payload:
 *   0  "SLIPWAYS"    8  format (u32 LE)    12  payload length (u32 LE)    16  sequence (u64 LE)
 *   24 zero          32 SHA-256 over bytes 0..31 and the payload
 * A write replaces the older copy, flushes, then the newer one, and flushes: whatever a
 * power cut tears, the other copy is whole, and a record that was returned from `write`
 * is there twice.
 */
import { createHash } from "node:crypto";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import * as z from "zod";
import type { Reason } from "../api/reasons.ts";
import type { Disk } from "../fastpatch/disk.ts";
import { PolicySchema } from "../proto/gen/agent_pb.ts";
import { freshMemory, type Memory, maxFailed, maxGood } from "./memory.ts";

const MAGIC = Buffer.from("SLIPWAYS");
const FORMAT = 1;
const HEADER = 64;
const ALIGN = 4096;
/** Bytes of one copy at most; a policy with 16 checks of the longest URLs takes 40 KiB. */
const MAX_COPY = 256 * 1024;

const Text = z.string().max(8192);
const reason = Text.transform((word) => word as Reason);
const slot = z.enum(["A", "B"]);

const Record = z.object({
  machine: z.object({
    failed: z
      .array(z.object({ rootHash: Text, version: Text, reason, message: Text, at: z.number() }))
      .max(maxFailed),
    floor: Text,
    good: z.array(Text).max(maxGood),
    stillRequired: Text.nullable(),
  }),
  act: z
    .object({
      token: z.object({ incarnation: Text, revision: z.string().transform((digits) => BigInt(digits)) }),
      target: z.object({ release: Text, version: Text, rootHash: Text }).nullable(),
      policy: z.unknown().transform((json) => fromJson(PolicySchema, json as JsonValue)),
      step: z.enum(["Committing", "Armed", "Flipped", "Rebooting"]),
      bootAtCommit: z.object({ id: Text, softReboots: z.number() }),
      slot: slot.nullable(),
      verdict: z
        .object({
          verdict: z.enum(["Updated", "FellBack", "Rebooted", "StillRequired"]),
          reason,
          message: Text,
        })
        .nullable(),
      withdraw: z.object({ reason, message: Text }).nullable(),
    })
    .nullable(),
});

/** `fresh`: never written. `torn`: one copy was damaged. `lost`: both were; the boot bits are the only evidence left. */
export type Condition = "whole" | "fresh" | "torn" | "lost";

export interface StateLog {
  readonly memory: Memory;
  readonly condition: Condition;
  /** Durable in both copies when it resolves. One write at a time. */
  write(memory: Memory): Promise<void>;
}

interface Copy {
  memory: Memory;
  sequence: bigint;
}

function encode(memory: Memory, sequence: bigint, room: number): Buffer {
  const { act } = memory;
  const json = {
    machine: memory.machine,
    act: act && {
      ...act,
      token: { ...act.token, revision: act.token.revision.toString() },
      policy: toJson(PolicySchema, act.policy),
    },
  };
  const payload = Buffer.from(JSON.stringify(json));
  const length = Math.ceil((HEADER + payload.length) / ALIGN) * ALIGN;
  if (length > room) {
    throw new Error(
      `the agent's state takes ${length} bytes, but its partition has ${room} for a copy: enlarge SLIPWAY-STATE`,
    );
  }
  const bytes = Buffer.alloc(length);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT, 8);
  bytes.writeUInt32LE(payload.length, 12);
  bytes.writeBigUInt64LE(sequence, 16);
  payload.copy(bytes, HEADER);
  digest(bytes, payload.length).copy(bytes, 32);
  return bytes;
}

function digest(bytes: Buffer, payload: number): Buffer {
  return createHash("sha256")
    .update(bytes.subarray(0, 32))
    .update(bytes.subarray(HEADER, HEADER + payload))
    .digest();
}

/** Undefined: nothing was ever written there. Null: damaged. */
function decode(bytes: Buffer): Copy | undefined | null {
  if (bytes.subarray(0, ALIGN).every((byte) => byte === 0)) return undefined;
  const payload = bytes.readUInt32LE(12);
  if (!bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt32LE(8) !== FORMAT) return null;
  if (HEADER + payload > bytes.length || !digest(bytes, payload).equals(bytes.subarray(32, HEADER))) {
    return null;
  }
  try {
    const memory = Record.parse(JSON.parse(bytes.toString("utf8", HEADER, HEADER + payload)));
    return { memory, sequence: bytes.readBigUInt64LE(16) };
  } catch {
    return null;
  }
}

/** Reads the memory from `disk`, the state partition: at least 8 KiB. */
export async function openState(disk: Disk): Promise<StateLog> {
  const room = Math.min(MAX_COPY, Math.floor(disk.size / 2 / ALIGN) * ALIGN);
  if (room < ALIGN) throw new Error(`the state partition has ${disk.size} bytes; at least 8192 expected`);
  const first = decode(await disk.read(0, room));
  const second = decode(await disk.read(room, room));
  const best = newest(first, second);
  let sequence = best?.sequence ?? 0n;
  let older: 0 | 1 = best !== undefined && best === first ? 1 : 0;
  return {
    memory: best?.memory ?? freshMemory(),
    condition: condition(first, second),
    async write(memory) {
      sequence += 1n;
      const bytes = encode(memory, sequence, room);
      const place = older;
      await disk.write(place * room, bytes);
      await disk.flush();
      older = place === 0 ? 1 : 0;
      await disk.write(older * room, bytes);
      await disk.flush();
    },
  };
}

function newest(first: Copy | undefined | null, second: Copy | undefined | null): Copy | undefined {
  if (!first) return second ?? undefined;
  if (!second) return first;
  return second.sequence > first.sequence ? second : first;
}

function condition(first: Copy | undefined | null, second: Copy | undefined | null): Condition {
  if (first && second) return "whole";
  if (first || second) return "torn";
  return first === undefined && second === undefined ? "fresh" : "lost";
}
