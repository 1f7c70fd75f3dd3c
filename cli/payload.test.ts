import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { payloadKeys, writePayload } from "../test/payloads/payload-writer.ts";
import { payloadCommand } from "./payload.ts";

let directory = "";
const lines: string[] = [];
const at = (name: string): string => join(directory, name);
const slipway = async (...args: string[]): Promise<void> => {
  const command = payloadCommand((line) => lines.push(line));
  for (const sub of [command, ...command.commands])
    sub.exitOverride().configureOutput({ writeErr: () => {} });
  await command.parseAsync(args, { from: "user" });
};
const { privateKey, pem } = payloadKeys();
const data = writePayload({
  blobs: [Buffer.from("one"), Buffer.from("two")],
  signers: [{ key: privateKey, version: 2 }],
});

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-payload-"));
  await writeFile(at("update.gz"), data);
  await writeFile(at("vendor.pem"), pem);
  await writeFile(at("other.pem"), payloadKeys().pem);
});
beforeEach(() => {
  lines.length = 0;
});
afterAll(() => rm(directory, { recursive: true }));

test("verify says what a Release needs", async () => {
  const base64 = createHash("sha256").update(data).digest("base64");
  const verify = ["verify", at("update.gz"), "--key", at("vendor.pem")];
  await slipway(...verify, "--size", `${data.length}`, "--sha256", base64);
  expect(lines.join("\n")).toContain(`in Omaha     ${base64}`);
  await expect(slipway(...verify, "--size", "3")).rejects.toThrow(/not 3\. Fetch it again/);
  await expect(slipway(...verify, "--sha256", "0".repeat(64))).rejects.toThrow(/not 0000/);
  await expect(slipway(...verify, "--sha256", "abc")).rejects.toThrow(/44 characters/);
  await expect(slipway("verify", at("update.gz"), "--key", at("other.pem"))).rejects.toThrow(/by this key/);
});

test("inspect says what is in it", async () => {
  await slipway("inspect", at("update.gz"));
  expect(lines).toContain("partition    root: 2 operations (2 REPLACE_BZ), 6 bytes of data");
  expect(lines).toContain("signatures   version 2, 2048 bits");
  lines.length = 0;
  await slipway("inspect", at("update.gz"), "-o", "json");
  expect(JSON.parse(lines.join("\n"))).toMatchObject({
    version: 1,
    manifest: { partitions: [{ name: "root", operations: [{ dataLength: 3 }, { dataOffset: 3 }] }] },
    signatures: [{ version: 2 }],
  });
  await expect(slipway("inspect", at("vendor.pem"))).rejects.toThrow(/does not begin as a payload does/);
});
