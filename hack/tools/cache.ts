/** Where tools are kept between runs, also for a user without a home (uid 65534 in a container). */
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Prefix of folders in which something is being made; the next builder removes those that were left. */
export const TEMPORARY = ".making-";

/** What a person can mend: the message is one sentence that says what to do. */
export class ToolError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ToolError";
  }
}

/**
 * `SLIPWAY_CACHE`, `XDG_CACHE_HOME/slipway` or `~/.cache/slipway`; a folder of the temporary
 * directory where the home can't be written. Created when missing.
 */
export function cacheDirectory(env: Environment): string {
  if (env.SLIPWAY_CACHE) return writable(env.SLIPWAY_CACHE, "SLIPWAY_CACHE");
  if (env.XDG_CACHE_HOME) return writable(join(env.XDG_CACHE_HOME, "slipway"), "XDG_CACHE_HOME");
  if (env.HOME && existsSync(env.HOME)) {
    try {
      return writable(join(env.HOME, ".cache", "slipway"), "HOME");
    } catch {
      // A home that belongs to somebody else.
    }
  }
  const own = join(env.TMPDIR ?? tmpdir(), `slipway-${process.getuid?.() ?? "user"}`);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  if (statSync(own).uid !== process.getuid?.()) {
    throw new ToolError(`${own} belongs to another user: set SLIPWAY_CACHE to a folder of your own.`);
  }
  return own;
}

function writable(directory: string, variable: string): string {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.R_OK | constants.X_OK);
    return directory;
  } catch (error) {
    throw new ToolError(
      `The tool cache ${directory} (from ${variable}) can't be used: set SLIPWAY_CACHE to a folder that this user may write.`,
      error,
    );
  }
}

/** The versions that hack/tools/go.mod pins, and a name for the set of binaries made from it. */
export interface Pins {
  /** "1.37.2" */
  kubernetes: string;
  etcd: string;
  kwok: string;
  /** Changes with go.mod, go.sum, the platform and the way of building. */
  hash: string;
}

export function readPins(recipe: string): Pins {
  const directory = import.meta.dirname;
  const gomod = readFileSync(join(directory, "go.mod"), "utf8");
  const version = (module: string): string => {
    const found = new RegExp(`^\\s*${module.replaceAll(".", "\\.")} v(\\S+)`, "m").exec(gomod)?.[1];
    if (found === undefined)
      throw new ToolError(`hack/tools/go.mod requires no ${module}: run \`go mod tidy\` there.`);
    return found;
  };
  const hash = createHash("sha256")
    .update(gomod)
    .update(readFileSync(join(directory, "go.sum")))
    .update(`${process.platform} ${process.arch} ${recipe}`)
    .digest("hex")
    .slice(0, 16);
  return {
    kubernetes: version("k8s.io/kubernetes"),
    etcd: version("go.etcd.io/etcd/server/v3"),
    kwok: version("sigs.k8s.io/kwok"),
    hash,
  };
}
