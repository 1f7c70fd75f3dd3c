/**
 * buildah(1) without a daemon and without being installed: Debian's packages are laid over /usr in
 * a mount namespace of its own, which also takes along whatever it left mounted.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory, ToolError } from "../tools/cache.ts";
import { withLock } from "../tools/lock.ts";
import { debianTree } from "../tools/tree.ts";

const exec = promisify(execFile);

/** npm ci on a slow network is the longest that a step takes. */
const DEADLINE = 20 * 60_000;
const MAX_OUTPUT = 16 * 1024 * 1024;

const INTO_NAMESPACE = 'mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr && exec buildah "$@"';

export class Buildah {
  readonly #tree: string;
  readonly #settings: string;
  readonly #storage: readonly string[];

  private constructor(tree: string, settings: string, storage: string) {
    this.#tree = tree;
    this.#settings = settings;
    this.#storage = ["--storage-driver", "overlay", "--root", storage, "--runroot", join(settings, "run")];
  }

  /** `use` gets a buildah whose images are kept in the cache between calls; it alone has them, because it names them. */
  static async with<T>(
    onProgress: (line: string) => void,
    use: (buildah: Buildah) => Promise<T>,
  ): Promise<T> {
    if (process.getuid?.() !== 0) {
      throw new ToolError("An image is built in namespaces of its own: run this as root.");
    }
    const tree = await debianTree("buildah", { onProgress });
    const storage = join(cacheDirectory(process.env), "images");
    mkdirSync(storage, { recursive: true });
    const settings = mkdtempSync(join(tmpdir(), "slipway-image-"));
    try {
      const trustAll = { default: [{ type: "insecureAcceptAnything" }] };
      writeFileSync(join(settings, "policy.json"), JSON.stringify(trustAll));
      writeFileSync(join(settings, "registries.conf"), "");
      writeFileSync(join(settings, "storage.conf"), '[storage]\ndriver = "overlay"\n');
      const onWait = (): void => onProgress("waiting for another process that makes images");
      return await withLock(`${storage}.lock`, onWait, () => use(new Buildah(tree, settings, storage)));
    } finally {
      rmSync(settings, { recursive: true, force: true, maxRetries: 3 });
    }
  }

  /** Standard output of `buildah COMMAND ARGS`. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const policy = ["build", "pull", "push", "from", "commit"].includes(command)
      ? ["--signature-policy", join(this.#settings, "policy.json")]
      : [];
    const buildah = [...this.#storage, command, ...policy, ...args];
    const env = {
      PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin`,
      HOME: this.#settings,
      TMPDIR: this.#settings,
      BUILDAH_ISOLATION: "chroot",
      CONTAINERS_CONF: "/dev/null",
      CONTAINERS_REGISTRIES_CONF: join(this.#settings, "registries.conf"),
      CONTAINERS_STORAGE_CONF: join(this.#settings, "storage.conf"),
    };
    const namespace = ["--mount", "--propagation", "private", "sh", "-c", INTO_NAMESPACE, this.#tree];
    try {
      const options = { env, timeout: DEADLINE, maxBuffer: MAX_OUTPUT };
      const { stdout } = await exec("unshare", [...namespace, ...buildah], options);
      return stdout;
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string };
      const words = `${stdout ?? ""}${stderr ?? ""}`.trim().split("\n").slice(-12).join("\n");
      throw new ToolError(`buildah ${command} failed; its last words: ${words || String(error)}`, error);
    }
  }

  /** Whether there is an image of this name. */
  async has(image: string): Promise<boolean> {
    return (await this.run("images", "--format", "{{.Name}}:{{.Tag}}")).split("\n").includes(image);
  }

  /** Makes the image `name` of the folder `root`. */
  async fromFolder(name: string, root: string, config: readonly string[] = []): Promise<void> {
    const container = (await this.run("from", "scratch")).trim();
    try {
      await this.run("copy", "--quiet", container, root, "/");
      if (config.length > 0) await this.run("config", ...config, container);
      await this.run("commit", "--quiet", "--format", "docker", "--timestamp", "0", container, name);
    } finally {
      await this.run("rm", container);
    }
  }
}
