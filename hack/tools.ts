/**
 * The programs of tests and the demo that npm doesn't bring: each is built from Go modules or
 * unpacked from a Debian package when first needed, and kept in a cache. Nothing is installed.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { onPath } from "./plane/process.ts";
import {
  cacheDirectory,
  type Environment,
  type GoModule,
  type Pins,
  readPins,
  TEMPORARY,
} from "./tools/cache.ts";
import { DEBIAN_TOOLS, type DebianTool, unpackDebianTool } from "./tools/debian.ts";
import { buildGoTools, GO_TOOLS, type GoTool, recipeOf } from "./tools/go.ts";
import { withLock } from "./tools/lock.ts";

export type Tool = GoTool | DebianTool;

export interface ToolOptions {
  onProgress?: (line: string) => void;
  /** In place of the process's own environment. */
  env?: Environment;
}

/** What a control plane needs. */
export const PLANE_TOOLS: readonly Tool[] = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubectl",
  "kwok",
  "etcdctl",
  "etcdutl",
];

/** Path of one tool; see `tools`. */
export async function tool(name: Tool, options: ToolOptions = {}): Promise<string> {
  const paths = await tools([name], options);
  const path = paths[name];
  if (path === undefined) throw new Error(`no path for ${name}`);
  return path;
}

const found = new Map<string, string>();

/**
 * Paths of several tools; those that are missing are built together, which is faster.
 * Looks in `KUBEBUILDER_ASSETS`, the cache, then PATH (a fitting version only).
 * Throws `ToolError`: one sentence that says what to do.
 */
export async function tools<Name extends Tool>(
  names: readonly Name[],
  options: ToolOptions = {},
): Promise<Record<Name, string>> {
  const env = options.env ?? process.env;
  const onProgress = options.onProgress ?? ((line) => process.stderr.write(`slipway: ${line}\n`));
  const cache = cacheDirectory(env);
  const paths: Partial<Record<Tool, string>> = {};
  for (const [module, members] of byModule(names)) {
    const pins = readPins(module, recipeOf(module));
    const directory = join(cache, "tools", pins.hash);
    const look = async (name: Tool): Promise<string | undefined> => {
      const key = [name, directory, env.KUBEBUILDER_ASSETS, env.PATH].join("\0");
      const known = found.get(key);
      if (known !== undefined && existsSync(known)) return known;
      const path = await find(name, directory, pins, env);
      if (path !== undefined) found.set(key, path);
      return path;
    };
    await make(members, module, { directory, look, context: { cache, env, pins, onProgress } });
    for (const name of members) {
      const path = await look(name);
      if (path === undefined) throw new Error(`${name} was made, but is not in ${directory}`);
      paths[name] = path;
    }
  }
  return paths as Record<Name, string>;
}

function moduleOf(name: Tool): GoModule {
  return isDebian(name) ? "." : GO_TOOLS[name].module;
}

/** Programs that are built with one call; Debian's lie beside those of the module ".". */
function byModule<Name extends Tool>(names: readonly Name[]): Map<GoModule, Name[]> {
  const groups = new Map<GoModule, Name[]>();
  for (const name of names) {
    const module = moduleOf(name);
    groups.set(module, [...(groups.get(module) ?? []), name]);
  }
  return groups;
}

interface Workshop {
  directory: string;
  look: (name: Tool) => Promise<string | undefined>;
  context: { cache: string; env: Environment; pins: Pins; onProgress: (line: string) => void };
}

/** Makes those of `names` that nobody has made yet. */
async function make(
  names: readonly Tool[],
  module: GoModule,
  { directory, look, context }: Workshop,
): Promise<void> {
  if ((await absent(names, look)).length === 0) return;
  mkdirSync(directory, { recursive: true });
  const onWait = (): void => context.onProgress("waiting for another process that makes the same tools");
  await withLock(join(directory, ".lock"), onWait, async () => {
    const missing = await absent(names, look);
    removeLeftovers(directory);
    const go = missing.filter((name) => name in GO_TOOLS) as GoTool[];
    if (go.length > 0) await buildGoTools(go, module, directory, context);
    for (const name of missing) {
      if (isDebian(name)) await unpackDebianTool(name, directory, context);
    }
  });
}

/** Of a builder that was killed; called under the lock. */
function removeLeftovers(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name.startsWith(TEMPORARY)) rmSync(join(directory, name), { recursive: true, force: true });
  }
}

async function absent<Name extends Tool>(
  names: readonly Name[],
  look: (name: Tool) => Promise<string | undefined>,
): Promise<Name[]> {
  const missing: Name[] = [];
  for (const name of names) if ((await look(name)) === undefined) missing.push(name);
  return missing;
}

function isDebian(name: Tool): name is DebianTool {
  return name in DEBIAN_TOOLS;
}

async function find(
  name: Tool,
  directory: string,
  pins: Pins,
  env: Environment,
): Promise<string | undefined> {
  if (isDebian(name)) {
    const cached = join(directory, name);
    return onPath(name, `${env.PATH ?? ""}:/usr/sbin:/sbin`) ?? (existsSync(cached) ? cached : undefined);
  }
  if (env.KUBEBUILDER_ASSETS) {
    const asset = join(env.KUBEBUILDER_ASSETS, name);
    if (existsSync(asset) && (await fits(name, asset, pins))) return asset;
  }
  const cached = join(directory, name);
  if (existsSync(cached)) return cached;
  const installed = onPath(name, env.PATH ?? "");
  return installed !== undefined && (await fits(name, installed, pins)) ? installed : undefined;
}

const exec = promisify(execFile);

/** Whether a binary that somebody else made has the minor version that we pin. */
async function fits(name: GoTool, path: string, pins: Pins): Promise<boolean> {
  const { of, ask } = GO_TOOLS[name];
  try {
    const { stdout } = await exec(path, ask, { timeout: 20_000 });
    const version = /(\d+\.\d+)\.\d+/.exec(stdout)?.[1];
    return version === pins.version(of).split(".").slice(0, 2).join(".");
  } catch {
    return false;
  }
}
