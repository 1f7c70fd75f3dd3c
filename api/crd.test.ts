import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";

const folder = join(import.meta.dirname, "../crds");

// kubectl reads YAML 1.1, where a bare Off is false: `strategy: Off` was refused by a CRD that seemed to list it.
test.each(readdirSync(folder))("%s says the same in YAML 1.1 and 1.2", (file) => {
  const text = readFileSync(join(folder, file), "utf8");
  expect(parse(text, { version: "1.1" })).toEqual(parse(text, { version: "1.2" }));
});
