/** `mirror load`: verifies a mirror, puts its files where a gateway serves them, and its Releases into the cluster. */
import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { type Release, ReleaseSpec, release } from "../../api/release.ts";
import { payloadKey } from "../../fastpatch/crau/verify.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { type GlobalFlags, withClient } from "../connection.ts";
import { Failure, type Io } from "../io.ts";
import { checkPayload } from "../payload.ts";
import { find } from "../write.ts";
import { filesOf, imagePath, type MirrorFile, PAYLOADS, readIndex, releaseOf } from "./index-file.ts";
import { copyVerified, faultOf } from "./transfer.ts";

/** Where a gateway serves what was loaded. */
const AT_GATEWAY = `{gateway}/${PAYLOADS}`;
/** Faults that are told at once. */
const SHOWN = 20;

interface LoadOptions {
  baseUrl: string;
  to?: string;
  key?: string;
  check?: boolean;
}

export function addLoad(parent: Command, io: Io): void {
  parent
    .command("load")
    .description(
      "Verify a mirror, copy its files to where gateways serve them, and declare its Releases. Nothing is done where anything is wrong.",
    )
    .argument("<directory>")
    .option("--base-url <url>", "folder under which machines will find the files", AT_GATEWAY)
    .option("--to <directory>", "what a gateway serves (--payloads): the files are copied there")
    .option("--key <file>", "PEM of the vendor's key: also verify each payload of update_engine")
    .option("--check", "verify, and no more; no cluster is asked")
    .action(async (directory: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<GlobalFlags & LoadOptions>();
      const releases = await readIndex(directory);
      if (releases === undefined)
        throw new Failure(
          `${directory} is no mirror, or its save did not end: \`mirror save\` goes on with it`,
        );
      const files = releases.flatMap((one) => filesOf(one, undefined));
      await verifyAll(join(directory, PAYLOADS), files, options.key);
      io.out(`${directory}: ${files.length} files of ${releases.length} Releases are right\n`);
      if (options.check === true) return;
      const moved = releases.map((one) => movedTo(one, options.baseUrl.replace(/\/+$/, "")));
      await withClient(options, io, async (client) => {
        const wanted = await missing(client, moved);
        await place(directory, files, options.to, io);
        for (const one of wanted) {
          await client.apply(release, one, { fieldManager: "slipway-mirror" });
          io.out(`release.slipway.dev/${one.metadata.name} declared\n`);
        }
        for (const one of moved)
          if (!wanted.includes(one)) io.out(`release.slipway.dev/${one.metadata.name} was there\n`);
      });
    });
}

async function verifyAll(
  root: string,
  files: readonly MirrorFile[],
  keyFile: string | undefined,
): Promise<void> {
  const key = keyFile === undefined ? undefined : payloadKey(await readFile(keyFile));
  const faults: string[] = [];
  for (const file of files) {
    const path = join(root, file.path);
    const fault = await faultOf(path, file);
    if (fault !== undefined) faults.push(`${file.path} ${fault}`);
    else if (key !== undefined && file.signed) {
      await checkPayload(path, { key }).catch((error: unknown) => {
        faults.push(`${file.path}: ${error instanceof Error ? error.message : String(error)}`);
      });
    }
  }
  if (faults.length === 0) return;
  const more = faults.length > SHOWN ? [`and ${faults.length - SHOWN} more`] : [];
  throw new Failure(
    `the mirror is not right, and nothing was done:\n${[...faults.slice(0, SHOWN), ...more].join("\n")}`,
  );
}

/** The Release with the places that it has on this side. */
function movedTo({ metadata: { name }, spec }: Release, base: string): Release {
  if (spec.payloads.length > 0 && !/^https?:/.test(base))
    throw new Failure(
      `Release ${name} has images for our agent, which knows no {gateway}: give a --base-url with http`,
    );
  const moved = ReleaseSpec.safeParse({
    ...spec,
    payloads: spec.payloads.map((one) => ({
      ...one,
      image: { ...one.image, urls: [`${base}/${imagePath(name, one.architecture, "image")}`] },
      manifest: { ...one.manifest, urls: [`${base}/${imagePath(name, one.architecture, "manifest")}`] },
    })),
    ...(spec.omaha === undefined
      ? {}
      : { omaha: spec.omaha.map((one) => ({ ...one, codebases: [`${base}/{name}/{architecture}/`] })) }),
  });
  if (!moved.success) throw new Failure(`--base-url ${base} is no URL that a Release may have`);
  return releaseOf(name, moved.data);
}

/** Those that are not there yet. One of the same name that has other files stops all. */
async function missing(client: KubeClient, releases: readonly Release[]): Promise<Release[]> {
  const wanted: Release[] = [];
  for (const one of releases) {
    const { name } = one.metadata;
    const present = await find<Release>(client, release, name);
    if (present === undefined) wanted.push(one);
    else if (hashes(present) !== hashes(one))
      throw new Failure(
        `there is another Release ${name} in the cluster; it never changes, and nothing was done`,
      );
  }
  return wanted;
}

function hashes(one: Release): string {
  const spec = ReleaseSpec.parse(one.spec);
  const files = filesOf(releaseOf(one.metadata.name, spec), undefined);
  const list = files.map(({ path, size, sha256 }) => `${path} ${size} ${sha256}`).toSorted();
  return [spec.version, spec.product, spec.updatesFrom, spec.steppingStone, ...list].join("\n");
}

async function place(
  directory: string,
  files: readonly MirrorFile[],
  to: string | undefined,
  io: Io,
): Promise<void> {
  const from = join(directory, PAYLOADS);
  if (to === undefined) {
    io.out(
      `Copy ${resolve(from)} to where machines will find it, before a channel points at these Releases.\n`,
    );
    return;
  }
  await mkdir(to, { recursive: true });
  let copied = 0;
  for (const file of files) if (await copyVerified(from, to, file)) copied += 1;
  io.out(`${to}: ${copied} files copied, ${files.length - copied} were there\n`);
}
