/**
 * zod schema -> structural schema (Kubernetes documentation, "Specifying a structural
 * schema"). Throws on everything that a structural schema can't say, so that a kind that
 * the API server would refuse, or silently weaken, is never generated.
 */
import * as z from "zod";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type Schema = Record<string, Json>;

/** Keywords that pass through as they are. */
const PLAIN = new Set([
  "type",
  "description",
  "default",
  "enum",
  "format",
  "pattern",
  "minimum",
  "maximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "maxProperties",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-validations",
]);

/** The structural schema of `type` at `path` (for messages). */
export function structural(type: z.ZodType, path: string): Schema {
  return convert(z.toJSONSchema(type, { target: "openapi-3.0", io: "input" }) as Schema, path);
}

function convert(schema: Schema, path: string): Schema {
  if (schema["x-kubernetes-int-or-string"] === true) return intOrString(schema);
  const result: Schema = {};
  for (const [keyword, value] of Object.entries(withForm(schema))) {
    if (PLAIN.has(keyword)) result[keyword] = value;
    else if (keyword === "properties") result[keyword] = properties(value as Schema, path);
    else if (keyword === "items") result[keyword] = convert(value as Schema, `${path}[]`);
    else if (keyword === "required") result[keyword] = value;
    else if (keyword === "additionalProperties") {
      if (typeof value === "object") result[keyword] = convert(value as Schema, `${path}{}`);
      else if (value !== false)
        throw new Error(`${path}: additionalProperties ${String(value)} is not structural`);
    } else if (keyword === "propertyNames" || keyword === "$schema") continue;
    else throw new Error(`${path}: a structural schema can't say "${keyword}"`);
  }
  bounded(result, path);
  return result;
}

/** A pattern with a message for people becomes a CEL rule: the API server prints a failed pattern bare. */
function withForm(schema: Schema): Schema {
  const { "x-slipway-form": message, pattern, ...rest } = schema;
  if (message === undefined) return schema;
  if (typeof pattern !== "string") throw new Error(`${JSON.stringify(message)} belongs to no pattern`);
  const rule: Json = { rule: `self.matches(r'${pattern}')`, message };
  const others = (rest["x-kubernetes-validations"] as Json[] | undefined) ?? [];
  return { ...rest, "x-kubernetes-validations": [rule, ...others] };
}

function properties(all: Schema, path: string): Schema {
  return Object.fromEntries(
    Object.entries(all).map(([name, value]) => [name, convert(value as Schema, `${path}.${name}`)]),
  );
}

function intOrString(schema: Schema): Schema {
  const result: Schema = { "x-kubernetes-int-or-string": true };
  for (const keyword of ["description", "default", "minimum", "pattern", "x-kubernetes-validations"]) {
    const value = schema[keyword];
    if (value !== undefined) result[keyword] = value;
  }
  return result;
}

/** CEL's cost estimate and the API server's memory need a bound on everything that can grow. */
function bounded(schema: Schema, path: string): void {
  const { type } = schema;
  if (type === undefined) throw new Error(`${path}: no type`);
  if (type === "array" && schema["maxItems"] === undefined) throw new Error(`${path}: a list needs .max()`);
  if (type === "object" && schema["properties"] === undefined && schema["maxProperties"] === undefined) {
    throw new Error(`${path}: a map needs maxProperties`);
  }
  if (type === "string" && schema["maxLength"] === undefined && schema["enum"] === undefined) {
    if (schema["format"] !== "date-time") throw new Error(`${path}: a string needs .max()`);
    // z.iso.datetime() writes a long pattern; the format says the same to the API server.
    delete schema["pattern"];
  }
  if (type === "integer") {
    schema["format"] = "int64";
    if (schema["maximum"] === Number.MAX_SAFE_INTEGER) delete schema["maximum"];
    if (schema["minimum"] === Number.MIN_SAFE_INTEGER) throw new Error(`${path}: an integer needs .min()`);
  }
}
