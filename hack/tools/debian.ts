/** Tools from Debian packages, unpacked into the cache: nothing on the machine changes, no root. */
import { execFile } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { onPath } from "../plane/process.ts";
import { type Environment, TEMPORARY, ToolError } from "./cache.ts";

const exec = promisify(execFile);

export type DebianTool = keyof typeof DEBIAN_TOOLS;

/**
 * Packages of each tool (libpopt0 is sgdisk's only library that a minimal system lacks) and the program in them. Debian
 * 12 has the last etcd with a v2 API, and its client, and the registry that most registries are made of.
 */
export const DEBIAN_TOOLS = {
  sgdisk: { packages: ["gdisk", "libpopt0"], program: ["usr/sbin/sgdisk", "sbin/sgdisk"] },
  cgpt: { packages: ["cgpt"], program: ["usr/bin/cgpt"] },
  "etcd-3.4": { packages: ["etcd-server"], program: ["usr/bin/etcd"] },
  "docker-registry": { packages: ["docker-registry"], program: ["usr/bin/docker-registry"] },
  "etcdctl-3.4": { packages: ["etcd-client"], program: ["usr/bin/etcdctl"] },
} as const;

/** Downloads and unpacks `name` below `directory`, and returns a script there that runs it. */
export async function unpackDebianTool(
  name: DebianTool,
  directory: string,
  context: { cache: string; env: Environment; onProgress: (line: string) => void },
): Promise<string> {
  const { packages, program } = DEBIAN_TOOLS[name];
  const byHand = `install ${packages[0]} with your package manager`;
  const path = `${context.env.PATH ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin`;
  if (onPath("apt-get", path) === undefined || onPath("dpkg", path) === undefined) {
    throw new ToolError(`${name} is missing and this is no Debian: ${byHand}.`);
  }
  context.onProgress(`fetching ${packages.join(" and ")} from Debian for ${name}`);
  const temporary = mkdtempSync(join(directory, TEMPORARY));
  try {
    const env = { ...context.env, PATH: path, DEBIAN_FRONTEND: "noninteractive" };
    await download(packages, temporary, context.cache, env, byHand);
    const root = join(temporary, "root");
    for (const file of readdirSync(temporary).filter((file) => file.endsWith(".deb"))) {
      await exec("dpkg", ["-x", join(temporary, file), root], { env, timeout: 60_000 });
    }
    const found = program.find((file) => existsSync(join(root, file)));
    if (found === undefined) throw new ToolError(`Debian's ${packages[0]} has no ${name}: ${byHand}.`);
    const home = join(directory, `${name}.d`);
    rmSync(home, { recursive: true, force: true });
    renameSync(root, home);
    const script = join(temporary, name);
    writeFileSync(script, wrapper(home, found));
    chmodSync(script, 0o755);
    renameSync(script, join(directory, name));
    return join(directory, name);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Finds its files beside itself, so that a cache can be moved. */
function wrapper(home: string, program: string): string {
  const folder = basename(home);
  const libraries = ["usr/lib", "lib"].flatMap((at) => {
    const path = join(home, at);
    return existsSync(path) ? [at, ...readdirSync(path).map((triple) => join(at, triple))] : [];
  });
  const search = libraries.map((at) => `$here/${folder}/${at}`).join(":");
  return [
    "#!/bin/sh",
    'here=$(cd "$(dirname "$0")" && pwd)',
    ...(libraries.length > 0 ? [`LD_LIBRARY_PATH="${search}"`, "export LD_LIBRARY_PATH"] : []),
    `exec "$here/${folder}/${program}" "$@"`,
    "",
  ].join("\n");
}

/** With the machine's package lists, or, where they are missing or stale, with lists of our own. */
export async function download(
  packages: readonly string[],
  into: string,
  cache: string,
  env: Record<string, string | undefined>,
  byHand: string,
): Promise<void> {
  const options = { cwd: into, env, timeout: 180_000 };
  try {
    await exec("apt-get", ["download", ...packages], options);
    return;
  } catch {
    // No lists, or lists that name versions which the mirror has no more.
  }
  const state = join(cache, "apt");
  for (const folder of ["lists/partial", "cache/archives/partial", "log"]) {
    mkdirSync(join(state, folder), { recursive: true });
  }
  const own = [
    ["Dir::State", state],
    ["Dir::State::status", "/var/lib/dpkg/status"],
    ["Dir::State::Lists", join(state, "lists")],
    ["Dir::Cache", join(state, "cache")],
    ["Dir::Log", join(state, "log")],
    ["Debug::NoLocking", "1"],
    ["APT::Sandbox::User", ""],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  try {
    await exec("apt-get", [...own, "update"], options);
    await exec("apt-get", [...own, "download", ...packages], options);
  } catch (error) {
    throw new ToolError(`Debian's packages can't be fetched: check the network, or ${byHand}.`, error);
  }
}
