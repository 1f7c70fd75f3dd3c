import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { kinds } from "./kinds.ts";

const folder = join(import.meta.dirname, "../crds");

// kubectl reads YAML 1.1, where a bare Off is false: `strategy: Off` was refused by a CRD that seemed to list it.
test.each(readdirSync(folder))("%s says the same in YAML 1.1 and 1.2", (file) => {
  const text = readFileSync(join(folder, file), "utf8");
  expect(parse(text, { version: "1.1" })).toEqual(parse(text, { version: "1.2" }));
});

// kubectl prints a date as an age, and `<invalid>` for one that lies ahead.
test.each(kinds)("$kind: columns of type date are times that have passed", ({ printerColumns }) => {
  const dates = printerColumns.filter(({ type }) => type === "date").map(({ jsonPath }) => jsonPath);
  expect([".metadata.creationTimestamp", ".status.since"]).toEqual(expect.arrayContaining(dates));
});
