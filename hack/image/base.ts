/**
 * Stand-ins for the Dockerfile's base images, made of Debian's packages under the names in FROM:
 * what `npm run image` builds on where no registry is asked.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { debianTree } from "../tools/tree.ts";
import type { Buildah } from "./buildah.ts";

/** What a distroless image has none of either. */
const UNUSED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug"];

/** As in the distroless images. */
const USERS = [
  ["root", 0, "/root"],
  ["nonroot", 65532, "/home/nonroot"],
] as const;

/** Builds `name` in the folder `work` if there is none yet: libraries, authorities, time zones, users; with Node.js if wanted. */
export async function makeBase(
  buildah: Buildah,
  name: string,
  options: { work: string; node: boolean; onProgress: (line: string) => void },
): Promise<void> {
  if (await buildah.has(name)) return;
  options.onProgress(`making ${name} from Debian's packages`);
  const root = join(options.work, name.replaceAll(/[^a-z0-9]/g, "-"));
  mkdirSync(root, { recursive: true });
  for (const tree of ["base", ...(options.node ? (["atomic"] as const) : [])] as const) {
    await promisify(execFile)("cp", ["-a", `${await debianTree(tree, options)}/.`, root], {
      timeout: 60_000,
    });
  }
  for (const folder of UNUSED) rmSync(join(root, folder), { recursive: true, force: true });
  authorities(root);
  const line = ([user, id, home]: (typeof USERS)[number]): string =>
    `${user}:x:${id}:${id}:${user}:${home}:/sbin/nologin\n`;
  writeFileSync(join(root, "etc/passwd"), USERS.map(line).join(""));
  writeFileSync(join(root, "etc/group"), USERS.map(([user, id]) => `${user}:x:${id}:\n`).join(""));
  mkdirSync(join(root, "usr/local/bin"), { recursive: true });
  if (options.node) cpSync(process.execPath, join(root, "usr/local/bin/node"));
  const env = ["--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
  await buildah.fromFolder(name, root, env);
  rmSync(root, { recursive: true, force: true });
}

/** What ca-certificates makes of its files when it is installed. */
function authorities(root: string): void {
  const folder = join(root, "usr/share/ca-certificates/mozilla");
  const files = readdirSync(folder).toSorted();
  mkdirSync(join(root, "etc/ssl/certs"), { recursive: true });
  const bundle = files.map((file) => readFileSync(join(folder, file), "utf8")).join("");
  writeFileSync(join(root, "etc/ssl/certs/ca-certificates.crt"), bundle);
}
