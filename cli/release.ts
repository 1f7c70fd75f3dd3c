/** `kubectl slipway release`: from a file system image to a Release in the cluster. */
import { Command } from "commander";
import { API_VERSION, type KubeObject } from "../api/meta.ts";
import { release } from "../api/release.ts";
import { isApiError } from "../runtime/client.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { addBuild, addKeygen, addSign, addVerify, buildRelease, readRelease, signRelease } from "./image.ts";
import { Failure, type Io } from "./io.ts";

interface CreateOptions {
  key?: string[];
  apply?: boolean;
}

export function releaseCommand(io: Io): Command {
  const print = (line: string): void => io.out(`${line}\n`);
  const command = new Command("release").description("Make, sign, check and publish releases.");
  const create = command.command("create");
  addBuild(create, async (input, options) => {
    const path = await buildRelease(input, options, print);
    const { key: keys = [], apply } = create.opts<CreateOptions>();
    for (const key of keys) await signRelease(path, key, print);
    if (apply === true) await publish(path, create.optsWithGlobals<GlobalFlags>(), io);
    else print(`Serve ${options.out} at ${options.url.join(", ")}, then: kubectl apply -f ${path}`);
  })
    .description(
      "Make image, manifest and Release from a file system image; sign it, and put it into the cluster.",
    )
    .option("--key <file...>", "private keys to sign with, as keygen made them")
    .option("--apply", "put the Release into the cluster; serve the directory first");
  addSign(command, print);
  addVerify(command, print);
  addKeygen(command, print);
  return command;
}

/** A Release never changes: one of that name that is there already is another, or the same. */
async function publish(path: string, flags: GlobalFlags, io: Io): Promise<void> {
  const { metadata, spec } = (await readRelease(path)) as unknown as KubeObject & { spec: object };
  const object: KubeObject = {
    apiVersion: API_VERSION,
    kind: release.kind,
    metadata: { name: metadata.name },
    spec,
  } as KubeObject;
  await withClient(flags, io, async (client) => {
    try {
      await client.create(release, object);
    } catch (error) {
      if (!isApiError(error, "AlreadyExists")) throw error;
      throw new Failure(
        `there is a Release ${metadata.name} already, and a Release never changes: give another --name or --version`,
      );
    }
    io.out(`release.slipway.dev/${metadata.name} created\n`);
  });
}
