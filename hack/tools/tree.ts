/**
 * Several Debian packages unpacked into one tree, with /bin, /sbin and /lib merged into /usr:
 * to be laid over /usr in a mount namespace, or to be the root of an image. Nothing is installed.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { onPath } from "../plane/process.ts";
import { cacheDirectory, type Environment, TEMPORARY, ToolError } from "./cache.ts";
import { download } from "./debian.ts";
import { withLock } from "./lock.ts";

const exec = promisify(execFile);

export type DebianTree = keyof typeof DEBIAN_TREES;

/** What each tree is made of: a program's own package, and those of its libraries that a minimal Debian lacks. */
const DEBIAN_TREES = {
  /** What containers need of a node beside containerd, kubelet and kube-proxy. */
  node: [
    ...["runc", "libseccomp2", "containernetworking-plugins"],
    ...["nftables", "libnftables1", "libnftnl11", "libxtables12", "libmnl0", "libjansson4"],
    ...["libedit2", "libbsd0", "libmd0", "libgmp10"],
    ...["iproute2", "libbpf1", "libelf1", "libcap2"],
  ],
  /** Builds images without a daemon. */
  buildah: [
    ...["buildah", "golang-github-containers-common", "golang-github-containers-image"],
    ...["libgpgme11", "libassuan0", "libgpg-error0", "libseccomp2", "libdevmapper1.02.1"],
  ],
  /** The libraries of C++, authorities and time zones: what a distroless base image has. */
  base: ["base-files", "netbase", "tzdata", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6"],
  /** What Node.js needs besides. */
  atomic: ["libatomic1"],
  /** chroot, by which an agent in a container runs the host's systemctl. */
  coreutils: ["coreutils"],
  /** The process that holds a Pod's namespaces, statically linked. */
  pause: ["catatonit"],
  /** The browser of the console's tests, without a window system, and two fonts. */
  chromium: [
    ...["chromium-headless-shell", "chromium-common", "fonts-dejavu-core", "fonts-inter"],
    ...["libasound2", "libasyncns0", "libatk1.0-0", "libatspi2.0-0", "libbrotli1", "libbsd0"],
    ...["libdav1d6", "libdbus-1-3", "libdouble-conversion3", "libdrm2", "libexpat1", "libffi8", "libflac12"],
    ...["libfontconfig1", "libfreetype6", "libgbm1", "libglib2.0-0", "libgraphite2-3", "libharfbuzz-subset0"],
    ...["libharfbuzz0b", "libjpeg62-turbo", "liblcms2-2", "libminizip1", "libmp3lame0", "libmpg123-0"],
    ...["libnspr4", "libnss3", "libogg0", "libopenh264-7", "libopenjp2-7", "libopus0", "libpng16-16"],
    ...["libpulse0", "libsndfile1", "libsqlite3-0", "libvorbis0a", "libvorbisenc2", "libwayland-server0"],
    ...["libx11-6", "libxau6", "libxcb-randr0", "libxcb1", "libxcomposite1", "libxdamage1", "libxdmcp6"],
    ...["libxext6", "libxfixes3", "libxi6", "libxkbcommon0", "libxnvctrl0", "libxrandr2", "libxrender1"],
  ],
  /** A web server and a shell, statically linked. */
  busybox: ["busybox-static"],
} as const;

const MERGED = ["bin", "sbin", "lib", "lib64"];

/** The folder of a tree, which is made when it is missing. Throws `ToolError`. */
export async function debianTree(
  name: DebianTree,
  options: { onProgress?: (line: string) => void; env?: Environment } = {},
): Promise<string> {
  const env = options.env ?? process.env;
  const onProgress = options.onProgress ?? ((line) => process.stderr.write(`slipway: ${line}\n`));
  const packages: readonly string[] = DEBIAN_TREES[name];
  const key = createHash("sha256")
    .update(`${packages.join(" ")} ${process.arch}`)
    .digest("hex")
    .slice(0, 12);
  const cache = cacheDirectory(env);
  const trees = join(cache, "trees");
  const tree = join(trees, `${name}-${key}`);
  if (existsSync(tree)) return tree;
  const path = `${env["PATH"] ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin`;
  const byHand = "use a Debian, or a container of one";
  if (onPath("apt-get", path) === undefined || onPath("dpkg-deb", path) === undefined) {
    throw new ToolError(`${packages[0]} comes from Debian's packages, and this is no Debian: ${byHand}.`);
  }
  mkdirSync(trees, { recursive: true });
  const onWait = (): void => onProgress("waiting for another process that unpacks the same packages");
  await withLock(join(trees, `.lock-${name}`), onWait, async () => {
    if (existsSync(tree)) return;
    onProgress(`fetching ${packages[0]} and ${packages.length - 1} packages that go with it from Debian`);
    const temporary = mkdtempSync(join(trees, TEMPORARY));
    try {
      const environment = { ...env, PATH: path, DEBIAN_FRONTEND: "noninteractive" };
      await download(packages, temporary, cache, environment, byHand);
      const root = join(temporary, "root");
      for (const folder of MERGED) mkdirSync(join(root, "usr", folder), { recursive: true });
      for (const folder of MERGED) symlinkSync(`usr/${folder}`, join(root, folder));
      for (const file of readdirSync(temporary).filter((entry) => entry.endsWith(".deb"))) {
        // dpkg-deb -x replaces a link to a folder by the folder.
        const unpack = `dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"`;
        const args = ["-c", unpack, "sh", join(temporary, file), root];
        await exec("sh", args, { env: environment, timeout: 60_000 });
      }
      renameSync(root, tree);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  });
  return tree;
}
