/** `mirror save`: Releases of the cluster, with all their files, into a directory. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { type Channel, channel } from "../../api/channel.ts";
import { type Release, ReleaseSpec, release } from "../../api/release.ts";
import { compareVersions } from "../../api/version.ts";
import { payloadKey } from "../../fastpatch/crau/verify.ts";
import { httpSource } from "../../fastpatch/http-source.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { type GlobalFlags, withClient } from "../connection.ts";
import { Failure, type Io } from "../io.ts";
import { checkPayload } from "../payload.ts";
import { need } from "../write.ts";
import { filesOf, PAYLOADS, readIndex, releaseOf, writeIndex } from "./index-file.ts";
import { fetchFile } from "./transfer.ts";

interface SaveOptions {
  channel?: string[];
  release?: string[];
  gateway?: string;
  key?: string;
}

export function addSave(parent: Command, io: Io): void {
  parent
    .command("save")
    .description(
      "Save Releases with all their files into a directory. What it has already is kept; what broke off is gone on with.",
    )
    .argument("<directory>")
    .option("--channel <name...>", "what the channel points at, and the stepping stones on the way there")
    .option("--release <name...>", "this Release")
    .option("--gateway <url>", "base of the URLs of the gateway, for Releases that lie at {gateway}")
    .option("--key <file>", "PEM of the vendor's key: also verify each payload of update_engine")
    .action(async (directory: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<GlobalFlags & SaveOptions>();
      const releases = await withClient(options, io, (client) => chosen(client, options));
      await save(directory, releases, options, io);
    });
}

/** Releases as they are declared, each once. */
async function chosen(client: KubeClient, options: SaveOptions): Promise<Release[]> {
  const names = new Set(options.release);
  const channels: Channel[] = [];
  for (const name of options.channel ?? []) channels.push(await need<Channel>(client, channel, name));
  if (names.size === 0 && channels.length === 0)
    throw new Failure("name what to save: --channel or --release");
  const { items } = await client.list<Release>(release);
  for (const { spec, metadata } of channels) {
    const targets = [spec.release, ...(spec.architectures ?? []).map((one) => one.release)];
    if (spec.release === undefined) throw new Failure(`Channel ${metadata.name} points at no Release yet`);
    for (const target of targets) {
      if (target === undefined) continue;
      names.add(target);
      const found = items.find((one) => one.metadata.name === target);
      for (const stone of items)
        if (found !== undefined && leadsTo(stone, found)) names.add(stone.metadata.name);
    }
  }
  return [...names].map((name) => {
    const found = items.find(({ metadata }) => metadata.name === name);
    if (found === undefined)
      throw new Failure(`there is no Release ${name}: \`kubectl get releases\` lists them`);
    return releaseOf(name, ReleaseSpec.parse(found.spec));
  });
}

function leadsTo({ spec: stone }: Release, { spec: target }: Release): boolean {
  const older = compareVersions(stone.version, target.version) < 0;
  return stone.steppingStone && stone.product === target.product && older;
}

async function save(
  directory: string,
  releases: readonly Release[],
  options: SaveOptions,
  io: Io,
): Promise<void> {
  const key = options.key === undefined ? undefined : payloadKey(await readFile(options.key));
  await mkdir(directory, { recursive: true });
  const present = (await readIndex(directory)) ?? [];
  for (const one of releases) {
    const same = present.find(({ metadata }) => metadata.name === one.metadata.name);
    if (same !== undefined && !sameJson(same.spec, one.spec))
      throw new Failure(`${directory} has another Release ${one.metadata.name}: save into a new directory`);
  }
  const gateway = options.gateway?.replace(/\/+$/, "");
  const source = httpSource({ clock: io.clock });
  const root = join(directory, PAYLOADS);
  try {
    for (const one of releases) {
      for (const file of filesOf(one, gateway)) {
        const verify = async (path: string): Promise<void> => {
          if (key !== undefined && file.signed) await checkPayload(path, { key });
        };
        const fetched = await fetchFile(source, root, file, io.signal, verify);
        io.out(`${file.path}: ${fetched ? `${file.size} bytes fetched` : "was there"}\n`);
      }
    }
  } finally {
    source.close();
  }
  const others = present.filter(
    ({ metadata }) => !releases.some((one) => one.metadata.name === metadata.name),
  );
  await writeIndex(directory, [...others, ...releases]);
  io.out(`${directory}: ${releases.map(({ metadata }) => metadata.name).join(", ")} saved\n`);
}
