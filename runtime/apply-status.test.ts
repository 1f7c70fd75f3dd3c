import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Resource } from "../api/kind.ts";
import { applyStatus, sameJson } from "./apply-status.ts";
import type { KubeClient } from "./client.ts";

const RESOURCE: Resource = { group: "", version: "v1", kind: "Thing", plural: "things", namespaced: false };

test("two values are the same exactly if their JSON is, in whatever order their keys stand", () => {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, part]) => [key, sorted(part)]),
    );
  };
  const text = (value: unknown): string => JSON.stringify(sorted(JSON.parse(JSON.stringify(value))));
  const value = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(value, value, (a, b) => {
      expect(sameJson(a, JSON.parse(JSON.stringify(a)))).toBe(true);
      expect(sameJson(a, sorted(a))).toBe(true);
      expect(sameJson(a, b)).toBe(text(a) === text(b));
    }),
  );
});

test("a field that is undefined is absent", () => {
  expect(sameJson({ a: 1, b: undefined }, { a: 1 })).toBe(true);
  expect(sameJson({ a: undefined }, { b: 1 })).toBe(false);
});

test("a status is written where a field of its own differs, and not for the sake of another controller's", async () => {
  const applied: unknown[] = [];
  const apply = async (_: unknown, body: unknown): Promise<unknown> => {
    applied.push((body as { status: unknown }).status);
    return body;
  };
  const client = { apply } as unknown as KubeClient;
  const metadata = { name: "a" };
  const write = async (found: object | undefined, status: object): Promise<number> => {
    applied.length = 0;
    const object = { apiVersion: "v1", kind: "Thing", metadata, spec: {}, ...(found && { status: found }) };
    await applyStatus(client, RESOURCE, object, status, { fieldManager: "ours", others: ["gate"] });
    return applied.length;
  };
  expect(await write({ nodes: 1, gate: { open: true } }, { nodes: 1 })).toBe(0);
  expect(await write({ nodes: 1, gate: { open: true } }, { nodes: 2 })).toBe(1);
  expect(await write({ nodes: 1, failed: 1 }, { nodes: 1 })).toBe(1);
  expect(await write({ gate: { open: true } }, { nodes: 1 })).toBe(1);
  expect(await write(undefined, {})).toBe(1);
});
