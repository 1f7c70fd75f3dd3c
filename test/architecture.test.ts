import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import {
  ARROWS,
  ambientUses,
  impurePolicies,
  parseSource,
  readSources,
  roomCycles,
  wrongArrows,
} from "./import-graph.ts";

const root = resolve(import.meta.dirname, "..");
const sources = readSources(root);

test("every arrow points the way that the design says", () => {
  expect(wrongArrows(sources)).toEqual([]);
});

test("no rooms know each other in a circle", () => {
  expect(roomCycles(sources)).toEqual([]);
});

test("policies are pure", () => {
  expect(impurePolicies(sources)).toEqual([]);
});

test("time, chance and environment come by the ports", () => {
  expect(ambientUses(sources)).toEqual([]);
});

test("every import of ours leads to a file", () => {
  const dangling = sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ target, external }) => !external && !existsSync(join(root, target)))
      .map(({ target }) => `${path} imports ${target}`),
  );
  expect(dangling).toEqual([]);
});

test("files stay short enough to read", () => {
  const long = sources
    .filter(({ path, text }) => !path.startsWith("proto/gen/") && text.split("\n").length > 401)
    .map(({ path }) => path);
  expect(long).toEqual([]);
});

test("the arrows themselves make no circle", () => {
  const drawn = Object.entries(ARROWS).map(([from, to]) =>
    parseSource(`${from}/x.ts`, to.map((name) => `import "../${name}/x.ts";`).join("\n")),
  );
  expect(roomCycles(drawn)).toEqual([]);
});

test("reads all forms of import", () => {
  const { imports } = parseSource(
    "agent/deep/x.ts",
    [
      'import "./side.ts";',
      'import { a, type B } from "../y.ts";',
      'import {\n  c,\n  d,\n} from "../../api/meta.ts";',
      'import type { E } from "@kubernetes/client-node/dist/gen";',
      'export * from "./z.ts";',
      'export type { F } from "./f.ts";',
      'const lazy = await import("etcd3");',
      '// import "./comment.ts";',
      '/* import "./comment.ts"; */',
    ].join("\n"),
  );
  expect(imports.map(({ target, value }) => `${target} ${value}`)).toEqual([
    "agent/deep/side.ts true",
    "agent/y.ts true",
    "api/meta.ts true",
    "@kubernetes/client-node false",
    "agent/deep/z.ts true",
    "agent/deep/f.ts false",
    "etcd3 true",
  ]);
});

test("notices what is planted", () => {
  const planted = [
    parseSource("api/a.ts", 'import { Clock } from "../ports/clock.ts";'),
    parseSource("agent/b.ts", 'import type { X } from "../runtime/core.ts";\nimport "etcd3";'),
    parseSource("gateway/c.ts", 'import { y } from "../controllers/y.ts";'),
    parseSource("controllers/y.ts", 'import { z } from "../gateway/c.ts";'),
    parseSource("cellar/d.ts", ""),
    parseSource("controllers/z/policy.ts", 'import { help } from "./help.ts";'),
    parseSource("controllers/z/help.ts", 'import { readFileSync } from "node:fs";'),
    parseSource(
      "fastpatch/e.ts",
      "// Date.now() in a comment\nconst now = Date.now();\nclock.setTimeout(1);",
    ),
    parseSource("controllers/e.test.ts", 'import "../hack/plane/plane.ts"; process.env.HOME;'),
  ];
  expect(wrongArrows(planted)).toHaveLength(6);
  expect(roomCycles(planted)).toContain("gateway -> controllers -> gateway");
  expect(impurePolicies(planted)).toEqual([
    "controllers/z/policy.ts loads node:fs through controllers/z/help.ts",
  ]);
  expect(ambientUses(planted)).toEqual([
    "fastpatch/e.ts uses the clock: use ports/clock.ts: const now = Date.now();",
  ]);
});
