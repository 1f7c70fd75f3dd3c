/** `slipway payload`: says what is in a payload of update_engine, and whether it is what its vendor made. */
import { type FileHandle, open, readFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Operation, type Partition } from "../fastpatch/crau/manifest.ts";
import { openPayload, type Payload, type PayloadFile } from "../fastpatch/crau/payload.ts";
import { type Expected, payloadKey, verifyPayload } from "../fastpatch/crau/verify.ts";
import type { Print } from "./image.ts";

export function payloadCommand(print: Print = (line) => void process.stdout.write(`${line}\n`)): Command {
  const payload = new Command("payload").description("Look into and check payloads of update_engine.");
  payload
    .command("inspect")
    .description(
      "Say what is in a payload: version, partitions, operations, signatures. Nothing is verified.",
    )
    .argument("<file>")
    .addOption(new Option("-o, --output <format>", "form of the output").choices(["json"]))
    .action((file: string, { output }: { output?: "json" }) => inspect(file, output, print));
  payload
    .command("verify")
    .description("Check a payload as update_engine does: its signature, and the hash of each operation.")
    .argument("<file>")
    .requiredOption(
      "--key <file>",
      "PEM of the vendor's public key, as machines have it in update-payload-key.pub.pem",
    )
    .option("--size <bytes>", "that the file must have, as the Release says", bytesOf)
    .option("--sha256 <hash>", "that the file must have, in base64 as Omaha writes it or in hex", hexOf)
    .action((file: string, options: VerifyOptions) => verify(file, options, print));
  return payload;
}

interface VerifyOptions {
  key: string;
  size?: number;
  sha256?: string;
}

function bytesOf(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError("It is a number of bytes.");
  return value;
}

/** In lower-case hex. */
function hexOf(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  const bytes = Buffer.from(text, "base64");
  if (bytes.length !== 32 || bytes.toString("base64") !== text)
    throw new InvalidArgumentError("It is a SHA-256: 44 characters of base64, or 64 hex digits.");
  return bytes.toString("hex");
}

/** Runs `work` with the file; a file that changes under the reader is an error. */
async function withPayload<T>(path: string, work: (file: PayloadFile) => Promise<T>): Promise<T> {
  const handle = await open(path);
  try {
    return await work(await payloadFile(handle));
  } finally {
    await handle.close();
  }
}

async function payloadFile(handle: FileHandle): Promise<PayloadFile> {
  const { size } = await handle.stat();
  return {
    size,
    async read(offset, length) {
      const bytes = Buffer.alloc(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) throw new Error("the file became shorter while it was read");
        done += bytesRead;
      }
      return bytes;
    },
  };
}

/** The payload at `path`, verified; rejects with a `FastPatchError` otherwise. */
export async function checkPayload(path: string, expected: Expected): ReturnType<typeof verifyPayload> {
  return await withPayload(path, (file) => verifyPayload(file, expected));
}

async function verify(path: string, { key, size, sha256 }: VerifyOptions, print: Print): Promise<void> {
  const verified = await checkPayload(path, {
    key: payloadKey(await readFile(key)),
    ...(size === undefined ? {} : { size }),
    ...(sha256 === undefined ? {} : { sha256 }),
  });
  const { payload, operations, signature } = verified;
  print(`${path}: signed by this key (signature ${signature + 1} of ${payload.signatures.length})`);
  print(`operations   ${operations}, each with the hash that the manifest says`);
  print(`size         ${payload.size}`);
  print(`sha256       ${verified.sha256}`);
  print(`in Omaha     ${Buffer.from(verified.sha256, "hex").toString("base64")}`);
}

async function inspect(path: string, output: "json" | undefined, print: Print): Promise<void> {
  const payload = await withPayload(path, openPayload);
  if (output === "json") {
    print(JSON.stringify(asData(payload), undefined, 2));
    return;
  }
  const { version, size, metadataSize, manifest, signatures } = payload;
  print(`version      ${version}`);
  print(`size         ${size} bytes, ${metadataSize} of them head and manifest`);
  print(`block size   ${manifest.blockSize}`);
  for (const partition of manifest.partitions) for (const line of linesOf(partition)) print(line);
  const said = signatures.map(({ version: of, data }) => `version ${of ?? "-"}, ${data.length * 8} bits`);
  print(`signatures   ${said.length === 0 ? "none" : said.join("; ")}`);
}

function linesOf({ name, from, to, operations }: Partition): string[] {
  const counts = [...countsOf(operations)].map(([type, count]) => `${count} ${type}`).join(", ");
  const data = operations.reduce((sum, { dataLength }) => sum + dataLength, 0);
  return [
    `partition    ${name}: ${operations.length} operations (${counts}), ${data} bytes of data`,
    ...(from === undefined ? [] : [`  from       ${from.size} bytes, sha256 ${from.sha256}`]),
    ...(to === undefined ? [] : [`  to         ${to.size} bytes, sha256 ${to.sha256}`]),
  ];
}

function countsOf(operations: readonly Operation[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { type } of operations) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}

function asData({ metadataSignatures, signatures, ...rest }: Payload): object {
  const plain = (list: Payload["signatures"]): object[] =>
    list.map(({ version, data }) => ({ version, data: Buffer.from(data).toString("base64") }));
  return { ...rest, metadataSignatures: plain(metadataSignatures), signatures: plain(signatures) };
}
