/** The plugin as a single executable, its archive and its krew manifest. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { parse } from "yaml";
import { VERSION } from "../../cli/version.ts";
import { buildExecutable } from "./build.ts";

interface Manifest {
  metadata: { name: string };
  spec: {
    version: string;
    homepage: string;
    shortDescription: string;
    platforms: {
      uri: string;
      sha256: string;
      bin: string;
      files: { from: string; to: string }[];
      selector: { matchLabels: { os: string; arch: string } };
    }[];
  };
}

let folder = "";
let files: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "slipway-executable-"));
  files = await buildExecutable(folder);
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (index: number): string => files[index] ?? "";

test("runs where there is no Node.js", () => {
  const env = { PATH: "/nowhere", KUBECONFIG: inject("kubeconfig"), NODE_OPTIONS: "--no-such-option" };
  expect(execFileSync(at(0), ["version"], { env, encoding: "utf8" })).toContain(`kubectl-slipway ${VERSION}`);
  expect(execFileSync(at(0), ["windows", "next", "-o", "json"], { env, encoding: "utf8" })).toMatch(/^\[/);
});

test("the archive holds the executable and the licence", () => {
  const list = execFileSync("tar", ["-tvzf", at(1)], { encoding: "utf8" });
  expect(list).toMatch(/^-rwxr-xr-x .* kubectl-slipway$/m);
  expect(list).toMatch(/^-rw-r--r-- .* LICENSE$/m);
});

describe("the manifest is what krew takes", () => {
  const manifest = (): Manifest => parse(readFileSync(at(2), "utf8")) as Manifest;

  test("names, and a description of at most 50 characters", () => {
    const { metadata, spec } = manifest();
    expect(`kubectl-${metadata.name}`).toBe("kubectl-slipway");
    expect(spec.version).toBe(`v${VERSION}`);
    expect(spec.shortDescription).toMatch(/^[A-Z].{0,48}[^.]$/);
    expect(spec.homepage).toMatch(/^https:\/\//);
  });

  test("the archive's hash and files", () => {
    const [platform] = manifest().spec.platforms;
    expect(platform?.sha256).toBe(
      createHash("sha256")
        .update(readFileSync(at(1)))
        .digest("hex"),
    );
    expect(platform?.uri.split("/").at(-1)).toBe(at(1).split("/").at(-1));
    expect(platform?.files.map(({ from }) => from)).toContain(platform?.bin);
    expect(platform?.selector.matchLabels.os).toBe("linux");
  });
});
