import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { ReleaseSpec } from "../api/release.ts";
import { noise, scattered } from "../test/crash/small-machine.ts";
import { imageCommand } from "./image.ts";

let directory = "";
const lines: string[] = [];
const at = (name: string): string => join(directory, name);
const slipway = async (...args: string[]): Promise<void> => {
  const command = imageCommand((line) => lines.push(line));
  for (const sub of [command, ...command.commands])
    sub.exitOverride().configureOutput({ writeErr: () => {} });
  await command.parseAsync(args, { from: "user" });
};
const build = (input: string, out: string, version: string, ...more: string[]): Promise<void> =>
  slipway(
    "build",
    at(input),
    "--out",
    at(out),
    "--product",
    "io.example.Harbor",
    "--version",
    version,
    "--architecture",
    "amd64",
    "--url",
    "https://one.example/os",
    "https://two.example/os/",
    ...more,
  );
const release = async (path: string): Promise<{ metadata: { name: string }; spec: ReleaseSpec }> =>
  parse(await readFile(at(path), "utf8")) as { metadata: { name: string }; spec: ReleaseSpec };

const data = noise(500_000, 1);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-image-"));
  await writeFile(at("one.img"), data);
  await writeFile(at("two.img"), scattered(data, 0.1, 2));
});
beforeEach(() => {
  lines.length = 0;
});
afterAll(() => rm(directory, { recursive: true }));

test("build, sign, inspect, verify", async () => {
  await slipway("keygen", at("release"));
  await slipway("keygen", at("other"));
  await build("one.img", "v1", "1.0.0");
  const made = await release("v1/release.yaml");
  expect(made.metadata.name).toBe("io.example.harbor-1.0.0");
  expect(made.spec.payloads[0]?.image.urls).toEqual([
    "https://one.example/os/image.zst",
    "https://two.example/os/image.zst",
  ]);

  await slipway("verify", at("v1/release.yaml"));
  await expect(slipway("verify", at("v1/release.yaml"), "--trust", at("release.trust.json"))).rejects.toThrow(
    /0 of 1/,
  );
  await slipway("sign", at("v1/release.yaml"), "--key", at("release.key"));
  await slipway("sign", at("v1/release.yaml"), "--key", at("release.key"));
  await slipway("verify", at("v1/release.yaml"), "--trust", at("release.trust.json"));
  expect(lines.slice(-2)).toEqual(["amd64: signed", "amd64: all 123 blocks are right"]);
  expect((await release("v1/release.yaml")).spec.payloads[0]?.signatures).toHaveLength(1);
  await expect(slipway("verify", at("v1/release.yaml"), "--trust", at("other.trust.json"))).rejects.toThrow(
    /0 of 1/,
  );

  await slipway("inspect", at("v1/manifest.zst"));
  expect(lines.join("\n")).toContain(made.spec.payloads[0]?.rootHash);
  await build("two.img", "v2", "1.0.1", "--base", at("v1/manifest.zst"), "--level", "1");
  await slipway("verify", at("v2/release.yaml"));
});

test("a key is never overwritten", async () => {
  await slipway("keygen", at("precious"));
  await expect(slipway("keygen", at("precious"))).rejects.toMatchObject({ code: "EEXIST" });
});

test("verify finds a changed file, a changed Release and a changed version", async () => {
  await build("one.img", "bad", "1.0.0");
  await slipway("keygen", at("k"));
  await slipway("sign", at("bad/release.yaml"), "--key", at("k.key"));
  const good = await readFile(at("bad/release.yaml"), "utf8");
  const altered = async (change: (spec: ReleaseSpec) => void): Promise<void> => {
    const yaml = parse(good) as { spec: ReleaseSpec };
    change(yaml.spec);
    await writeFile(at("bad/release.yaml"), stringify(yaml));
  };
  await altered((spec) => {
    spec.version = "1.0.9";
  });
  await expect(slipway("verify", at("bad/release.yaml"), "--trust", at("k.trust.json"))).rejects.toThrow(
    /does not fit/,
  );
  await altered((spec) => {
    for (const payload of spec.payloads) payload.rootHash = "0".repeat(64);
  });
  await expect(slipway("verify", at("bad/release.yaml"))).rejects.toThrow(/Release names 0000/);
  await writeFile(at("bad/release.yaml"), good);
  const object = await readFile(at("bad/image.zst"));
  object[1000] = (object[1000] ?? 0) ^ 1;
  await writeFile(at("bad/image.zst"), object);
  await expect(slipway("verify", at("bad/release.yaml"))).rejects.toThrow(/image.zst has the SHA-256/);
});

test.each([
  [["--version", "latest"], /version/],
  [["--architecture", "vax"], /amd64/],
  [["--level", "99"], /1 to 22/],
  [["--url", "ftp://x/"], /urls/],
])("build %j is refused before anything is written", async (more, message) => {
  await expect(build("one.img", "never", "1.0.0", ...more)).rejects.toThrow(message);
  await expect(readFile(at("never/image.zst"))).rejects.toMatchObject({ code: "ENOENT" });
});
