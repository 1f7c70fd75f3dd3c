import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cacheDirectory, readPins, ToolError } from "./tools/cache.ts";
import { diagnose, GO_TOOLS, goEnvironment, recipeOf } from "./tools/go.ts";
import { withLock } from "./tools/lock.ts";
import { tool, tools } from "./tools.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "slipway-tools-"));
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

/** An executable shell script in `home`/bin. */
function program(name: string, body: string): string {
  const folder = join(home, "bin");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folder, name), 0o755);
  return folder;
}

const quiet = { onProgress: () => undefined };

/** A go that "builds" what `go build -o DIR/ PACKAGES` names, and counts its calls. */
const FAKE_GO = `
[ "$1" = env ] && { echo go1.26.8; exit; }
echo call >> "$COUNT"
while [ "$1" != -o ]; do shift; done
dir=$2; shift 2
for package; do name=\${package%/v3}; : > "$dir/\${name##*/}"; done`;

test("a missing Go is one sentence that says what to do", async () => {
  const error = await tool("kubectl", { env: { SLIPWAY_CACHE: home, PATH: "/nonexistent" }, ...quiet }).catch(
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ToolError);
  expect(String(error)).toMatch(/Go is missing: install Go 1\.26 or newer .* or set KUBEBUILDER_ASSETS/);
});

test("a Go that is too old is told from one that works", async () => {
  const path = program("go", "echo go1.19.8");
  await expect(tool("etcd", { env: { SLIPWAY_CACHE: home, PATH: path }, ...quiet })).rejects.toThrow(
    /Go 1\.26 or newer is needed \(go1\.19 found\)/,
  );
});

test("a full disk and a lost network say so", () => {
  expect(diagnose("mkdir /x: no space left on device").message).toMatch(/disk is full/);
  expect(diagnose("dial tcp: lookup proxy.golang.org: no such host").message).toMatch(
    /proxy can't be reached/,
  );
  expect(diagnose("/go/link: signal: killed").message).toMatch(/out of memory/);
  expect(diagnose("x.go:1: syntax error").message).toMatch(/syntax error/);
});

test("what is missing is built in one call, once, and found afterwards", async () => {
  const count = join(home, "count");
  const path = `${program("go", FAKE_GO)}:/usr/bin:/bin`;
  const env = { SLIPWAY_CACHE: join(home, "cache"), PATH: path, COUNT: count, HOME: home };
  const lines: string[] = [];
  const options = { env, onProgress: (line: string) => void lines.push(line) };
  const [first, second] = await Promise.all([
    tools(["etcd", "kwok"], options),
    tools(["kwok", "etcd"], options),
  ]);
  expect(first).toEqual(second);
  expect(existsSync(first.etcd)).toBe(true);
  expect(first.etcd).toMatch(/\/etcd$/);
  expect(readFileSync(count, "utf8")).toBe("call\n");
  expect(lines.filter((line) => line.startsWith("building"))).toEqual([
    expect.stringMatching(/^building etcd, kwok from source, once for this machine: at most 1 min 33 s/),
  ]);
  expect(await tool("kwok", options)).toBe(first.kwok);
});

test("a build that fails leaves nothing half done", async () => {
  const path = `${program("go", '[ "$1" = env ] && { echo go1.26.0; exit; }\necho "no space left on device" >&2; exit 1')}:/usr/bin:/bin`;
  const env = { SLIPWAY_CACHE: join(home, "cache"), PATH: path, HOME: home };
  await expect(tools(["etcd"], { env, ...quiet })).rejects.toThrow(/disk is full/);
  const folder = join(home, "cache/tools", readHash());
  expect(existsSync(join(folder, "etcd"))).toBe(false);
});

test("binaries of KUBEBUILDER_ASSETS are used when their minor version fits, others are not", async () => {
  const minor = readPins(".", "").version("k8s.io/kubernetes").split(".").slice(0, 2).join(".");
  const assets = program("kube-apiserver", `echo Kubernetes v${minor}.0`);
  program("kubectl", "echo Client Version: v1.2.3");
  const env = { SLIPWAY_CACHE: join(home, "cache"), KUBEBUILDER_ASSETS: assets, PATH: "/nonexistent" };
  expect(await tool("kube-apiserver", { env, ...quiet })).toBe(join(assets, "kube-apiserver"));
  await expect(tool("kubectl", { env, ...quiet })).rejects.toThrow(ToolError);
});

test("each module pins what is built from it", () => {
  const versions = Object.values(GO_TOOLS).map(({ module, of }) => readPins(module, "").version(of));
  for (const version of versions) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  const hashes = new Set(Object.values(GO_TOOLS).map(({ module }) => readPins(module, "").hash));
  expect(hashes.size).toBe(new Set(Object.values(GO_TOOLS).map(({ module }) => module)).size);
});

test("a home that can't be written is no obstacle", () => {
  const env = { HOME: join(home, "missing"), TMPDIR: home };
  expect(cacheDirectory(env)).toBe(join(home, `slipway-${process.getuid?.()}`));
  expect(goEnvironment(env, "/cache")).toMatchObject({
    GOCACHE: "/cache/go-build",
    GOMODCACHE: "/cache/go-mod",
  });
  expect(goEnvironment({ HOME: home }, "/cache").GOCACHE).toBeUndefined();
});

test("a cache that can't be made says which variable to set", () => {
  const file = join(home, "file");
  writeFileSync(file, "");
  expect(() => cacheDirectory({ SLIPWAY_CACHE: join(file, "cache") })).toThrow(
    /set SLIPWAY_CACHE to a folder/,
  );
});

test("a lock lets one in at a time, and a failure gives it back", async () => {
  const file = join(home, "lock");
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    inside++;
    most = Math.max(most, inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
  };
  await expect(
    withLock(
      file,
      () => undefined,
      () => Promise.reject(new Error("broken")),
    ),
  ).rejects.toThrow("broken");
  await Promise.all([1, 2, 3].map(() => withLock(file, () => undefined, work)));
  expect(most).toBe(1);
});

function readHash(): string {
  return readPins(".", recipeOf(".")).hash;
}
