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

/** A Go module of ours below hack/tools that pins programs; "." is hack/tools itself. */
export type GoModule = "." | "containerd" | "coredns" | "helm" | "kubernetes-1.36" | "prometheus";

/** What a module's go.mod pins, and a name for the set of binaries made from it. */
export interface Pins {
  /** Version of a module that it requires, without the "v": "1.37.2". */
  version: (module: string) => string;
  /** Changes with go.mod, go.sum, the platform and the way of building. */
  hash: string;
}

/** `recipe` is the way of building, as text. */
export function readPins(module: GoModule, recipe: string): Pins {
  const directory = join(import.meta.dirname, module);
  const gomod = readFileSync(join(directory, "go.mod"), "utf8");
  const hash = createHash("sha256")
    .update(gomod)
    .update(readFileSync(join(directory, "go.sum")))
    .update(`${process.platform} ${process.arch} ${recipe}`)
    .digest("hex")
    .slice(0, 16);
  return {
    hash,
    version: (name) => {
      const line = new RegExp(`^\\s*(?:require )?${name.replaceAll(".", "\\.")} v(\\S+)`, "m");
      const found = line.exec(gomod)?.[1];
      if (found === undefined) {
        throw new ToolError(
          `${join("hack/tools", module)}/go.mod requires no ${name}: run \`go mod tidy\` there.`,
        );
      }
      return found;
    },
  };
}
