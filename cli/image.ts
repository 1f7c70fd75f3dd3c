/** `slipway image`: builds, signs and checks the images that a Release names. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { Architecture, ReleaseSpec } from "../api/release.ts";
import { buildImage } from "../fastpatch/image.ts";
import { isZero, type Manifest, parseManifest } from "../fastpatch/manifest.ts";
import { decodeRun } from "../fastpatch/run-codec.ts";
import { type ImageStatement, keyId, signStatement } from "../fastpatch/statement.ts";
import { parseTrust, trustEntry, verifySignatures } from "../fastpatch/trust.ts";
import { BLOCK, DIGEST, hashBlocks, imageBlocks } from "../fastpatch/verity.ts";
import { systemClock } from "../ports/clock.ts";

const API_VERSION = "slipway.dev/v1alpha1";
const IMAGE = "image.zst";
const MANIFEST = "manifest.zst";
const RELEASE = "release.yaml";

/** Where lines for people go. */
export type Print = (line: string) => void;

export function imageCommand(print: Print = (line) => void process.stdout.write(`${line}\n`)): Command {
  const image = new Command("image").description("Build, sign and check operating system images.");
  addBuild(
    image.command("build"),
    async (input, options) => void (await buildRelease(input, options, print)),
  );
  addSign(image, print);
  image
    .command("inspect")
    .description("Say what is in a manifest.")
    .argument("<manifest>")
    .action((manifest: string) => inspect(manifest, print));
  addVerify(image, print);
  addKeygen(image, print);
  return image;
}

/** The arguments of a command that makes image, manifest and Release. */
export function addBuild(
  command: Command,
  act: (input: string, options: BuildOptions) => Promise<void>,
): Command {
  return command
    .description("Make image, manifest and Release from a file system image.")
    .argument("<input>", "file system or archive, as it shall lie in a slot")
    .requiredOption("--out <directory>", `where ${IMAGE}, ${MANIFEST} and ${RELEASE} are written`)
    .requiredOption("--product <id>", "Omaha application id")
    .requiredOption("--version <version>", "version, such as 4081.2.0")
    .requiredOption("--architecture <name>", "amd64 or arm64")
    .requiredOption(
      "--url <prefix...>",
      "where the directory will be served; several mirrors in order of preference",
    )
    .option(
      "--base <manifest>",
      "manifest of the release that most machines run: they will fetch only what changed",
    )
    .option("--level <number>", "zstd level", level, 9)
    .option("--name <name>", "name of the Release; by default made of product and version")
    .action((input: string, options: BuildOptions) => act(input, options));
}

export function addSign(parent: Command, print: Print): void {
  parent
    .command("sign")
    .description("Add a signature to every payload of a Release.")
    .argument("<release>", "YAML file of the Release; it is rewritten")
    .requiredOption("--key <file>", "private key, as keygen made it")
    .action((release: string, options: { key: string }) => signRelease(release, options.key, print));
}

export function addVerify(parent: Command, print: Print): void {
  parent
    .command("verify")
    .description(`Check the files beside a Release (${IMAGE}, ${MANIFEST}) against it, block by block.`)
    .argument("<release>", "YAML file of the Release")
    .option("--trust <file>", "a machine's trust file: also check the signatures as that machine would")
    .action((release: string, options: { trust?: string }) => verifyRelease(release, options.trust, print));
}

export function addKeygen(parent: Command, print: Print): void {
  parent
    .command("keygen")
    .description("Make a key pair for signing.")
    .argument("<name>", "NAME.key gets the private key, NAME.trust.json a trust file for machines")
    .action((name: string) => keygen(name, print));
}

function level(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 22)
    throw new InvalidArgumentError("It is a number from 1 to 22.");
  return value;
}

export interface BuildOptions {
  out: string;
  product: string;
  version: string;
  architecture: string;
  url: string[];
  base?: string;
  level: number;
  name?: string;
}

/** Gives the path of the Release that it wrote. */
export async function buildRelease(input: string, options: BuildOptions, print: Print): Promise<string> {
  const architecture = Architecture.parse(options.architecture);
  // Everything that can be wrong is found before the long work begins.
  const plan = (image: object, manifest: object, rootHash: string) =>
    ReleaseSpec.parse({
      version: options.version,
      product: options.product,
      payloads: [{ architecture, image, manifest, rootHash }],
    });
  const urls = (file: string): string[] =>
    options.url.map((prefix) => `${prefix.replace(/\/+$/, "")}/${file}`);
  const none = { size: 1, sha256: "0".repeat(64) };
  plan({ urls: urls(IMAGE), ...none }, { urls: urls(MANIFEST), ...none }, none.sha256);
  const base = options.base === undefined ? undefined : await parseManifest(await readFile(options.base));

  await mkdir(options.out, { recursive: true });
  const source = await open(input);
  const object = join(options.out, IMAGE);
  const out = await open(`${object}.part`, "w");
  try {
    const { size } = await source.stat();
    const built = await buildImage({
      input: { size, read: (offset, length) => readExactly(source, offset, length) },
      write: async (bytes) => void (await out.writev([bytes])),
      level: options.level,
      ...(base === undefined ? {} : { base }),
    });
    await out.close();
    await rename(`${object}.part`, object);
    await writeFile(join(options.out, MANIFEST), built.manifestObject);
    const spec = plan(
      { urls: urls(IMAGE), ...built.image },
      { urls: urls(MANIFEST), ...built.manifest },
      built.rootHash,
    );
    const name = options.name ?? releaseName(options.product, options.version);
    const release = { apiVersion: API_VERSION, kind: "Release", metadata: { name }, spec };
    await writeFile(join(options.out, RELEASE), stringify(release));
    print(
      `${join(options.out, RELEASE)}: ${options.product} ${options.version}, root hash ${built.rootHash}`,
    );
    print(
      `${built.dataBlocks * BLOCK} bytes in a slot and ${built.imageBytes - built.dataBlocks * BLOCK} for its hash tree, ${built.image.size} to fetch`,
    );
    return join(options.out, RELEASE);
  } finally {
    await source.close();
    await out.close();
  }
}

/** Names of objects are RFC 1123 subdomains. */
function releaseName(product: string, version: string): string {
  const name = `${product}-${version}`.toLowerCase().replace(/[^a-z0-9.-]+/g, "-");
  return name.replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "").slice(0, 63);
}

async function readExactly(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0)
      throw new Error(`the input ended at byte ${offset + done}: it was changed while it was read`);
    done += bytesRead;
  }
  return bytes;
}

const ReleaseFile = z.looseObject({ kind: z.literal("Release"), spec: ReleaseSpec });

export async function readRelease(path: string): Promise<z.output<typeof ReleaseFile>> {
  const parsed = ReleaseFile.safeParse(parse(await readFile(path, "utf8")));
  if (!parsed.success) throw new Error(`${path} is no Release:\n${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

type Payload = ReleaseSpec["payloads"][number];

function statementOf(spec: ReleaseSpec, payload: Payload): ImageStatement {
  const { architecture, rootHash, image, manifest } = payload;
  return { product: spec.product, version: spec.version, architecture, rootHash, image, manifest };
}

export async function signRelease(path: string, key: string, print: Print): Promise<void> {
  const release = await readRelease(path);
  const privateKey = createPrivateKey(await readFile(key));
  const id = keyId(createPublicKey(privateKey));
  for (const payload of release.spec.payloads) {
    const signature = signStatement(statementOf(release.spec, payload), privateKey).toString("base64");
    payload.signatures = [
      ...payload.signatures.filter((present) => present.keyId !== id),
      { keyId: id, signature },
    ];
  }
  await writeFile(`${path}.part`, stringify(release));
  await rename(`${path}.part`, path);
  print(`${path}: signed with key ${id}`);
}

async function inspect(path: string, print: Print): Promise<void> {
  const manifest = await parseManifest(await readFile(path));
  const { dataBlocks, runs, rootHash } = manifest;
  let stored = 0;
  for (const run of runs) stored += run.count;
  print(`root hash    ${rootHash}`);
  print(
    `data         ${dataBlocks} blocks, ${dataBlocks * BLOCK} bytes; with hash tree ${imageBlocks(dataBlocks) * BLOCK}`,
  );
  print(`zero blocks  ${dataBlocks - stored}`);
  print(`object       ${runs.length} runs, ${runs.objectSize} bytes`);
}

/** Reads every byte of the object: what comes out is what a machine would write. */
async function verifyRelease(path: string, trust: string | undefined, print: Print): Promise<void> {
  const { spec } = await readRelease(path);
  const roots = trust === undefined ? undefined : parseTrust(await readFile(trust, "utf8"));
  for (const payload of spec.payloads) {
    if (roots !== undefined) {
      const signatures = payload.signatures.map(({ keyId, signature }) => ({
        keyId,
        signature: Buffer.from(signature, "base64"),
      }));
      const now = systemClock.now();
      const verdict = verifySignatures(statementOf(spec, payload), signatures, roots, {
        now,
        unsignedAllowed: true,
      });
      print(`${payload.architecture}: ${verdict}`);
    }
    const file = (blob: Payload["image"]): string =>
      join(dirname(path), basename(new URL(blob.urls[0] ?? pathToFileURL(resolve(IMAGE))).pathname));
    const manifest = await checkObject(file(payload.manifest), payload.manifest);
    await checkObject(file(payload.image), payload.image);
    const parsed = await parseManifest(await readFile(manifest));
    if (parsed.rootHash !== payload.rootHash) {
      throw new Error(
        `${manifest} is of the image ${parsed.rootHash}, but the Release names ${payload.rootHash}`,
      );
    }
    await checkRuns(file(payload.image), parsed);
    print(`${payload.architecture}: all ${parsed.dataBlocks} blocks are right`);
  }
}

async function checkObject(path: string, blob: { size: number; sha256: string }): Promise<string> {
  const { size } = await stat(path);
  if (size !== blob.size) throw new Error(`${path} has ${size} bytes, but the Release says ${blob.size}`);
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(path)) digest.update(chunk as Buffer);
  const sha256 = digest.digest("hex");
  if (sha256 !== blob.sha256)
    throw new Error(`${path} has the SHA-256 ${sha256}, but the Release says ${blob.sha256}`);
  return path;
}

async function checkRuns(path: string, manifest: Manifest): Promise<void> {
  const hashes = Buffer.from(manifest.hashes);
  const object = await open(path);
  try {
    for (const run of manifest.runs) {
      const blocks = decodeRun(await readExactly(object, run.offset, run.length), run);
      if (blocks === undefined)
        throw new Error(`${path}: bytes ${run.offset} to ${run.offset + run.length} are damaged`);
      hashBlocks(blocks, hashes, run.first);
    }
  } finally {
    await object.close();
  }
  for (let block = 0; block < manifest.dataBlocks; block++) {
    const at = block * DIGEST;
    const same = hashes.compare(manifest.hashes, at, at + DIGEST, at, at + DIGEST) === 0;
    if (!same && !isZero(manifest.hashes, block))
      throw new Error(`${path}: block ${block} is not what the manifest lists`);
  }
}

async function keygen(name: string, print: Print): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  await writeFile(`${name}.key`, privateKey.export({ type: "pkcs8", format: "pem" }), {
    mode: 0o600,
    flag: "wx",
  });
  const trust = { threshold: 1, allowUnsigned: false, keys: [trustEntry(publicKey)] };
  await writeFile(`${name}.trust.json`, `${JSON.stringify(trust, undefined, 2)}\n`, { flag: "wx" });
  print(`${name}.key: keep it secret. ${name}.trust.json: for machines. Key ${keyId(publicKey)}`);
}
