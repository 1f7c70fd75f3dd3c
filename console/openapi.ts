/** The OpenAPI document of the JSON API (OpenAPI 3.1, whose schemas are JSON Schema 2020-12), from the same table that is served. */
import * as z from "zod";
import {
  Activity,
  Budget,
  Channel,
  Done,
  Fleet,
  Group,
  GroupOpenings,
  ListedMachine,
  Machine,
  Me,
  Problem,
  Reason,
  Release,
  SignInWays,
  Slot,
  Stage,
  Story,
  Versions,
  Waiting,
  Window,
} from "./contract.ts";
import { type Operation, operations } from "./operations.ts";

type Json = Record<string, unknown>;

/** Views that are named in the document, and referred to. */
const COMPONENTS = {
  Problem,
  Reason,
  Stage,
  Group,
  Channel,
  Release,
  Slot,
  Machine,
  ListedMachine,
  Story,
  Window,
  GroupOpenings,
  Budget,
  Waiting,
  Fleet,
  Versions,
  Activity,
  Me,
  SignInWays,
  Done,
};

export function openApi(): Json {
  const metadata = z.registry<{ id: string }>();
  for (const [id, view] of Object.entries(COMPONENTS)) metadata.add(view, { id });
  const schemas: Record<string, unknown> = {};
  const schemaOf: SchemaOf = (schema, io) => {
    const { $schema: _, $defs = {}, ...made } = z.toJSONSchema(schema, { io, metadata, override: tell });
    for (const [name, definition] of Object.entries($defs)) schemas[name] = written(definition);
    return written(made) as Json;
  };
  schemaOf(Problem, "output");
  const paths: Record<string, Json> = {};
  for (const [id, operation] of Object.entries(operations) as [string, Operation][]) {
    const path = paths[operation.path] ?? {};
    paths[operation.path] = path;
    path[operation.method.toLowerCase()] = describe(id, operation, schemaOf);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Slipway",
      version: "v1",
      description:
        "What the console shows and writes. Who asks is known by a bearer token of Kubernetes or by the session's cookie; what they may is decided by RBAC. A write with a cookie needs the header `X-Slipway-Request: 1`.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: { type: "http", scheme: "bearer" },
        session: { type: "apiKey", in: "cookie", name: "__Host-slipway" },
      },
    },
  };
}

function describe(id: string, operation: Operation, schemaOf: SchemaOf): Json {
  const { summary, path, query, body, answer } = operation;
  const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    ...{ name, in: "path", required: true, schema: { type: "string" } },
  }));
  const asked = Object.entries(query?.shape ?? {}).map(([name, schema]) => ({
    ...{ name, in: "query", required: false, schema: schemaOf(schema as z.ZodType, "input") },
  }));
  const json = (schema: Json): Json => ({ "application/json": { schema } });
  const good =
    id === "events"
      ? { description: "A stream.", content: { "text/event-stream": { schema: { type: "string" } } } }
      : answer === undefined
        ? { description: "Done." }
        : { description: "Done.", content: json(schemaOf(answer, "output")) };
  return {
    operationId: id,
    summary,
    security: operation.open === true ? [] : [{ token: [] }, { session: [] }],
    ...(named.length + asked.length === 0 ? {} : { parameters: [...named, ...asked] }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: json(schemaOf(body, "input")) } }),
    responses: {
      [answer === undefined && id !== "events" ? "204" : "200"]: good,
      default: { description: "Why not.", content: json({ $ref: "#/components/schemas/Problem" }) },
    },
  };
}

/** What a field means stands in the registry of all schemas, where `meta` puts it; names are of this document only. */
function tell({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodType; jsonSchema: Json }): void {
  const { description } = z.globalRegistry.get(zodSchema) ?? {};
  if (description !== undefined) jsonSchema["description"] = description;
}

type SchemaOf = (schema: z.ZodType, io: "input" | "output") => Json;

/** What says nothing, or the same as another word; and a view may get more fields. */
const SILENT: readonly ((name: string, value: unknown, of: object) => boolean)[] = [
  (name) => name === "id",
  (name, _, of) => name === "pattern" && "format" in of,
  (name, value) => name === "maximum" && value === Number.MAX_SAFE_INTEGER,
  (name, value) => name === "additionalProperties" && value === false,
];

/** As an OpenAPI document has it: its own place for definitions, and no pattern where the format says the same. */
function written(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(written);
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([name, value]) => !SILENT.some((silent) => silent(name, value, schema)))
      .map(([name, value]) => [
        name,
        name === "$ref" ? String(value).replace("#/$defs/", "#/components/schemas/") : written(value),
      ]),
  );
}
