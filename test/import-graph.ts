/**
 * The arrows between files, read from their import statements, and the rules that they obey
 * (docs/design.md sections 7 and 11).
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

export interface Import {
  /** Repository path of the target ("api/meta.ts"), or the name of a package ("zod", "node:fs"). */
  target: string;
  /** False for `import type` and `export type`, which leave nothing at run time. */
  value: boolean;
  /** Whether `target` is a package. */
  external: boolean;
}

export interface SourceFile {
  /** Relative to the repository, with forward slashes. */
  path: string;
  text: string;
  imports: Import[];
}

/** All TypeScript files of the repository that people wrote. */
export function readSources(root: string): SourceFile[] {
  const sources: SourceFile[] = [];
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        if (!entry.name.startsWith(".") && entry.name !== "node_modules" && entry.name !== "dist") walk(path);
      } else if (/\.tsx?$/.test(entry.name)) {
        sources.push(parseSource(relative(root, path), readFileSync(path, "utf8")));
      }
    }
  };
  walk(root);
  return sources.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

const STATEMENT = /^\s*(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?"([^"\n]+)"/gm;
const DYNAMIC = /\bimport\(\s*"([^"\n]+)"\s*,?\s*\)/g;

export function parseSource(path: string, text: string): SourceFile {
  const code = withoutComments(text);
  const imports = [
    ...[...code.matchAll(STATEMENT)].map((match) => arrow(path, match[2] ?? "", match[1] === undefined)),
    ...[...code.matchAll(DYNAMIC)].map((match) => arrow(path, match[1] ?? "", true)),
  ];
  return { path, text, imports };
}

function arrow(from: string, specifier: string, value: boolean): Import {
  if (specifier.startsWith(".")) {
    return { target: normalize(join(dirname(from), specifier)), value, external: false };
  }
  const name = /^(?:@[^/]+\/[^/]+|[^/]+)/.exec(specifier)?.[0] ?? specifier;
  return { target: name, value, external: true };
}

/** Comments and nothing else; a string that holds `//` stays whole. */
function withoutComments(text: string): string {
  return text.replaceAll(
    /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (_, string: string | undefined) => string ?? " ",
  );
}

/** The first folder of a path; files of the root are the room "main". */
export function room(path: string): string {
  return path.includes("/") ? (path.split("/", 1)[0] ?? "") : "main";
}

/** Which rooms a room may import beside itself. `main`, `hack` and `test` may import all. */
export const ARROWS: Readonly<Record<string, readonly string[]>> = {
  api: [],
  ports: [],
  proto: [],
  fastpatch: ["api", "ports"],
  units: ["api", "ports"],
  runtime: ["api", "ports"],
  coordination: ["api", "ports", "proto"],
  controllers: ["api", "ports", "proto", "pki", "runtime", "coordination", "fastpatch", "units"],
  pki: ["ports"],
  gateway: ["api", "ports", "proto", "pki", "runtime", "coordination", "fastpatch", "units", "console"],
  agent: ["api", "ports", "proto", "pki", "fastpatch"],
  console: ["api"],
  install: ["api", "ports", "pki", "runtime", "coordination", "controllers", "gateway"],
  cli: ["api", "ports", "proto", "pki", "runtime", "coordination", "fastpatch", "units", "console"],
};

/** Packages that only some rooms may load, because of their size or because a port hides them. */
export const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "@kubernetes/client-node": ["runtime"],
  etcd3: ["coordination"],
  undici: ["runtime"],
};

/** May do as they like: they are the outermost. */
const OUTSIDE = ["main", "hack", "test"];

export function isTest(path: string): boolean {
  return path.endsWith(".test.ts") || room(path) === "test";
}

/** Arrows that point the wrong way, one sentence each. Tests may reach for anything. */
export function wrongArrows(sources: readonly SourceFile[]): string[] {
  const wrong: string[] = [];
  for (const { path, imports } of sources) {
    const from = room(path);
    if (isTest(path) || OUTSIDE.includes(from)) continue;
    const allowed = ARROWS[from];
    if (allowed === undefined) {
      wrong.push(`${path}: the room ${from} has no arrows in test/import-graph.ts`);
      continue;
    }
    for (const { target, external } of imports) {
      if (external) {
        const rooms = PACKAGES[target];
        if (rooms !== undefined && !rooms.includes(from)) {
          wrong.push(`${path} imports ${target}, which belongs to ${rooms.join(" and ")}`);
        }
        continue;
      }
      const to = room(target);
      if (to !== from && !allowed.includes(to)) {
        wrong.push(`${path} imports ${target}: ${from} may import ${allowed.join(", ") || "no other room"}`);
      }
    }
  }
  return wrong;
}

/** Rooms that know each other in a circle, as "a -> b -> a"; one per circle found. */
export function roomCycles(sources: readonly SourceFile[]): string[] {
  const arrows = new Map<string, Set<string>>();
  for (const { path, imports } of sources) {
    if (isTest(path)) continue;
    const from = room(path);
    for (const { target, external } of imports) {
      if (external || room(target) === from || isTest(target)) continue;
      arrows.set(from, (arrows.get(from) ?? new Set()).add(room(target)));
    }
  }
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (at: string, trail: readonly string[]): void => {
    const seen = trail.indexOf(at);
    if (seen >= 0) {
      cycles.push([...trail.slice(seen), at].join(" -> "));
      return;
    }
    if (done.has(at)) return;
    for (const next of arrows.get(at) ?? []) visit(next, [...trail, at]);
    done.add(at);
  };
  for (const start of arrows.keys()) visit(start, []);
  return cycles;
}

/** What a policy may load: nothing that can wait, draw lots, or do I/O. Of node:crypto only hashes are left. */
const PURE_PACKAGES = ["zod", "@bufbuild/protobuf", "node:crypto"];
/** Records and the protocol's messages are data; what a machine is called follows from its id, what it told, and in which boots, from its record. */
const PURE = /^(?:api|proto)\/|^coordination\/(?:admission|identity|machine-(?:boots|history)|records)\.ts$/;

/**
 * Decisions stay pure: what a `policy.ts` loads, directly or through others, is pure or stands in
 * its own room, and loads no other package. Types it may take from wherever its room may.
 */
export function impurePolicies(sources: readonly SourceFile[]): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const wrong: string[] = [];
  for (const policy of sources) {
    if (!/(?:^|\/)policy\.ts$/.test(policy.path)) continue;
    const reached = new Set<string>();
    const queue = [policy.path];
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      if (reached.has(path)) continue;
      reached.add(path);
      for (const { target, value, external } of byPath.get(path)?.imports ?? []) {
        if (!value) continue;
        const pure = external
          ? PURE_PACKAGES.includes(target)
          : PURE.test(target) || room(target) === room(policy.path);
        const through = path === policy.path ? "" : ` through ${path}`;
        if (!pure) wrong.push(`${policy.path} loads ${target}${through}`);
        else if (!external) queue.push(target);
      }
    }
  }
  return wrong;
}

/** Time, chance and environment, which come by the ports; each with what to use instead. */
const AMBIENT: readonly [RegExp, string][] = [
  [/\bprocess\.env\b/, "process.env: take a parameter; main.ts and command.ts files read the environment"],
  [
    /\bDate\.now\(|\bnew Date\(\s*\)|\bTemporal\.Now\b|\bperformance\.now\(|\bprocess\.hrtime\b/,
    "the clock: use ports/clock.ts",
  ],
  [/(?<![.\w])(?:setTimeout|setInterval)\(/, "a timer: use ports/clock.ts"],
  [/\bMath\.random\(|\brandomUUID\(|\brandomBytes\(|\brandomInt\(/, "chance: use ports/random.ts"],
];

/** Uses of the ambient world outside of the rim, one sentence each. */
export function ambientUses(sources: readonly SourceFile[]): string[] {
  return sources
    .filter((source) => !isRim(source))
    .flatMap(({ path, text }) =>
      withoutComments(text)
        .split("\n")
        .flatMap((line) =>
          AMBIENT.filter(([use]) => use.test(line)).map(
            ([, instead]) => `${path} uses ${instead}: ${line.trim()}`,
          ),
        ),
    );
}

/** Outermost rooms, the ports themselves, and files that define a command of the command line. */
function isRim({ path, imports }: SourceFile): boolean {
  const name = path.split("/").at(-1);
  const outermost = isTest(path) || [...OUTSIDE, "ports"].includes(room(path));
  const command =
    name === "main.ts" ||
    name === "main.tsx" ||
    name === "command.ts" ||
    imports.some(({ target }) => target === "commander");
  return outermost || command;
}
