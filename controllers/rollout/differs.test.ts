import { expect, test } from "vitest";
import { nodeUpdate } from "../fixtures.ts";
import { differs } from "./differs.ts";

const update = nodeUpdate("a", "pool", "os-1.1.0");
const { labels = {} } = update.metadata;
const wanted = {
  name: "a",
  uid: update.metadata.uid,
  labels,
  annotations: {},
  owned: ["slipway.dev/withheld"],
  spec: update.spec,
};

test("a field that this build does not know is no reason to write, and one that it knows is", () => {
  expect(differs(update, wanted)).toBe(false);
  const newer = { ...update, spec: { ...update.spec, tide: "low" } };
  expect(differs(newer, wanted)).toBe(false);
  expect(differs(newer, { ...wanted, spec: { ...update.spec, release: "os-2" } })).toBe(true);
  const { release: _, ...without } = update.spec;
  expect(differs(newer, { ...wanted, spec: without })).toBe(true);
  expect(differs(undefined, wanted)).toBe(true);
});

test("an annotation of ours that must go is a reason, one of a person is none", () => {
  const held = { "slipway.dev/hold": "x" };
  const metadata = { ...update.metadata, annotations: { ...held, "slipway.dev/withheld": "{}" } };
  expect(differs({ ...update, metadata }, wanted)).toBe(true);
  expect(differs({ ...update, metadata: { ...metadata, annotations: held } }, wanted)).toBe(false);
});
