/**
 * Reading records at the edge. A record that can't be read is reported and comes out as
 * undefined; each caller takes that in the safe direction.
 */
import { type DescMessage, fromJson, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import type { z } from "zod";
import type { Logger } from "../ports/log.ts";
import type { KeyValue } from "./etcd.ts";

/** A damaged record is reported once per change; so many are remembered. */
const REMEMBERED = 1000;
/** Records that are kept as they were read, of some KiB each: those of the requests that a gateway hears at once. */
const KEPT = 500;

export class Parser {
  readonly #log: Logger;
  readonly #reported = new Map<string, number>();
  /** By key: a request looks at a record several times, each in an answer of its own. Nobody changes what was read. */
  readonly #known = new Map<string, { schema: z.ZodType; text: string; value: unknown }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  json<S extends z.ZodType>(schema: S, kv: KeyValue | undefined): z.output<S> | undefined {
    if (kv === undefined) return undefined;
    const known = this.#known.get(kv.key);
    // Not by its revision, which etcd may give again after a restore.
    if (known?.schema === schema && known.text === kv.value) return known.value as z.output<S>;
    const value = this.#read(kv, (text) => schema.parse(JSON.parse(text)));
    if (value === undefined) return undefined;
    if (this.#known.size >= KEPT) this.#known.clear();
    this.#known.set(kv.key, { schema, text: kv.value, value });
    return value;
  }

  /** A record in proto JSON; fields of a newer release are passed over. */
  proto<D extends DescMessage>(schema: D, kv: KeyValue | undefined): MessageShape<D> | undefined {
    return this.#read(kv, (value) =>
      fromJson(schema, JSON.parse(value) as JsonValue, { ignoreUnknownFields: true }),
    );
  }

  #read<T>(kv: KeyValue | undefined, read: (value: string) => T): T | undefined {
    if (kv === undefined) return undefined;
    try {
      return read(kv.value);
    } catch (error) {
      if (this.#reported.get(kv.key) !== kv.modRevision) {
        if (this.#reported.size >= REMEMBERED) this.#reported.clear();
        this.#reported.set(kv.key, kv.modRevision);
        this.#log.error("a record in etcd can't be read; it counts as taken and permits nothing", error, {
          key: kv.key,
          revision: kv.modRevision,
        });
      }
      return undefined;
    }
  }
}

export function protoText<D extends DescMessage>(schema: D, message: MessageShape<D>): string {
  return JSON.stringify(toJson(schema, message));
}
