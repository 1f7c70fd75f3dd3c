/** Words of the values' schema, and what is written from it. */
import { Document, isMap, isScalar, type Node, type Pair, type Scalar, YAMLMap } from "yaml";
import * as z from "zod";

/** An amount as Kubernetes writes it: "250m", "1Gi". */
export const quantity = z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?$/), z.int().min(0)]);

/** A list of objects that Kubernetes itself checks. */
export function passed() {
  return z.array(z.record(z.string(), z.unknown()));
}

/** Names to values. */
export function mapOf<T extends z.ZodType>(value: T) {
  return z.record(z.string().min(1), value);
}

/** A group of values; `what` says what it is about. It takes no other keys. */
export function object<S extends z.ZodRawShape>(shape: S, what: string) {
  return z.strictObject(shape).describe(what).optional();
}

/** The part of JSON Schema that the values use. */
export interface JsonSchema {
  type?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: boolean | JsonSchema;
  [keyword: string]: unknown;
}

/** values.schema.json. */
export function schemaOf(values: z.ZodType): JsonSchema {
  const schema = z.toJSONSchema(values, { io: "input", target: "draft-7" }) as JsonSchema;
  return { ...schema, title: "Values of the Slipway chart" };
}

/** values.yaml: every default, with its description above it. */
export function valuesFile(schema: JsonSchema, header: string): string {
  const document = new Document(defaultsOf(schema));
  document.commentBefore = header;
  if (isMap(document.contents)) comment(document.contents, schema, true);
  return document.toString({ lineWidth: 0 });
}

/** All defaults, as `helm install` has them. */
export function defaultsOf(schema: JsonSchema): unknown {
  if (schema.default !== undefined) return schema.default;
  return Object.fromEntries(
    Object.entries(schema.properties ?? {}).map(([name, child]) => [name, defaultsOf(child)]),
  );
}

const WIDTH = 110;

function comment(map: YAMLMap, { properties = {} }: JsonSchema, top: boolean): void {
  for (const pair of map.items as Pair<Node, Node | null>[]) {
    const key = pair.key as Scalar;
    const child = isScalar(key) ? properties[String(key.value)] : undefined;
    if (child === undefined) continue;
    key.commentBefore = wrap(child.description ?? "", WIDTH)
      .map((line) => ` ${line}`)
      .join("\n");
    if (top) key.spaceBefore = true;
    if (pair.value instanceof YAMLMap && child.default === undefined) comment(pair.value, child, false);
  }
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** Rows of a Markdown table: value, default, meaning. */
export function tableOf(schema: JsonSchema, prefix = ""): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => {
    const path = `${prefix}${name}`;
    if (child.properties !== undefined && child.default === undefined) return tableOf(child, `${path}.`);
    const value = JSON.stringify(child.default);
    const cell = (text: string): string => text.replaceAll("|", "\\|");
    return [`| \`${path}\` | \`${cell(value)}\` | ${cell(child.description ?? "")} |`];
  });
}
