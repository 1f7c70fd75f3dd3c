import { expect, test } from "vitest";
import * as z from "zod";
import { crd } from "./crd.ts";
import { kinds } from "./kinds.ts";
import { structural } from "./structural.ts";

test("every kind can be said in a structural schema", () => {
  for (const kind of kinds) expect(crd(kind)).toHaveProperty("spec.versions.0.schema");
});

test.each([
  ["a union", z.object({ a: z.union([z.int().min(0), z.boolean()]) }), /can't say "anyOf"/],
  ["a list without bound", z.object({ a: z.array(z.boolean()) }), /X\.a: a list needs \.max\(\)/],
  ["a string without bound", z.object({ a: z.string() }), /X\.a: a string needs \.max\(\)/],
  ["a map without bound", z.object({ a: z.record(z.string(), z.boolean()) }), /a map needs maxProperties/],
  ["an integer without lower bound", z.object({ a: z.int() }), /an integer needs \.min\(\)/],
  ["unknown fields", z.object({ a: z.looseObject({}) }), /additionalProperties|no type/],
  ["a nested list", z.object({ a: z.array(z.object({ b: z.string() })).max(3) }), /X\.a\[\]\.b: a string/],
  [
    "a message without pattern",
    z.object({ a: z.string().max(3).meta({ "x-slipway-form": "no" }) }),
    /belongs to no pattern/,
  ],
])("%s is refused", (_name, schema, message) => {
  expect(() => structural(schema, "X")).toThrow(message);
});

test("a pattern with a message becomes a rule that says it", () => {
  const schema = structural(
    z.object({ a: z.string().max(3).regex(/^x$/).meta({ "x-slipway-form": "must be x" }) }),
    "X",
  );
  expect(schema).toEqual({
    type: "object",
    required: ["a"],
    properties: {
      a: {
        type: "string",
        maxLength: 3,
        "x-kubernetes-validations": [{ rule: "self.matches(r'^x$')", message: "must be x" }],
      },
    },
  });
});
