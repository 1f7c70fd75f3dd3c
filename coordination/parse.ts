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
/** Records that `again` keeps, each of at most so many characters: 8 MiB of text. */
const KEPT = 1000;
const MAX_KEPT_TEXT = 8192;

export class Parser {
  readonly #log: Logger;
  readonly #reported = new Map<string, number>();
  /** What the same answer of etcd is read as again, by several who look at it: nobody changes what was read. */
  readonly #known = new WeakMap<KeyValue, { schema: z.ZodType; value: unknown }>();
  /** By key, oldest first. */
  readonly #kept = new Map<string, { text: string; schema: z.ZodType; value: unknown }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  json<S extends z.ZodType>(schema: S, kv: KeyValue | undefined): z.output<S> | undefined {
    const known = kv && this.#known.get(kv);
    if (known?.schema === schema) return known.value as z.output<S>;
    const value = this.#read(kv, (text) => schema.parse(JSON.parse(text)));
    if (kv !== undefined) this.#known.set(kv, { schema, value });
    return value;
  }

  /** `json`, of a record that one request looks at in several answers of etcd, one after the other. */
  again<S extends z.ZodType>(schema: S, kv: KeyValue | undefined): z.output<S> | undefined {
    if (kv === undefined) return undefined;
    const kept = this.#kept.get(kv.key);
    // Not by its revision, which etcd may give again after a restore.
    if (kept?.schema === schema && kept.text === kv.value) return kept.value as z.output<S>;
    const value = this.json(schema, kv);
    this.#kept.delete(kv.key);
    if (value === undefined || kv.value.length > MAX_KEPT_TEXT) return value;
    this.#kept.set(kv.key, { schema, text: kv.value, value });
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value ?? "");
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
