/**
 * Runs a TypeScript file of this repository with the Node.js that the lock file pins:
 * `node hack/bootstrap.mjs FILE ARGS`. Installs the dependencies first where they are missing or
 * older than package-lock.json, so that every `npm run` works on a fresh clone.
 * Plain JavaScript, for any Node.js from 20 on.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = 20;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const stampFile = join(modules, ".slipway-lock");

function fail(sentence) {
  process.stderr.write(`slipway: ${sentence}\n`);
  process.exit(1);
}

const [file, ...args] = process.argv.slice(2);
if (file === undefined) fail("say what to run: node hack/bootstrap.mjs FILE ARGS");
if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  fail(
    `Node.js ${process.versions.node} is too old: install version ${OLDEST_NODE} or newer from https://nodejs.org.`,
  );
}
if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
  fail(
    `Slipway is developed on Linux for x64 and arm64, not ${process.platform} ${process.arch}: use such a machine, or a virtual one.`,
  );
}

const lockText = readFileSync(join(root, "package-lock.json"), "utf8");
const stamp = createHash("sha256").update(lockText).digest("hex");
const node = join(modules, `node-linux-${process.arch}`, "bin", "node");
if (!isInstalled()) install();

if (!existsSync(node)) {
  fail(`node_modules has no node-linux-${process.arch}: run \`npm ci --include=optional\`, then try again.`);
}
run();

/** By our stamp, or, after an `npm ci` by hand, by npm's own record of what it installed. */
function isInstalled() {
  if (!existsSync(node)) return false;
  if (read(stampFile) === stamp) return true;
  const record = read(join(modules, ".package-lock.json"));
  if (record === undefined) return false;
  const installed = JSON.parse(record).packages;
  for (const [path, wanted] of Object.entries(JSON.parse(lockText).packages)) {
    if (path === "") continue;
    if (installed[path] === undefined ? !wanted.optional : installed[path].version !== wanted.version)
      return false;
  }
  writeStamp();
  return true;
}

function install() {
  const release = lock();
  try {
    if (!isInstalled()) installAlone();
  } finally {
    release();
  }
}

/** Two npm ci in one checkout break each other: whoever comes second waits for the first. */
function lock() {
  const file = join(root, ".npm-ci.lock");
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== "EEXIST") return () => undefined;
    }
    const holder = Number.parseInt(read(file) ?? "", 10);
    if (!isAlive(holder)) rmSync(file, { force: true });
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  }
}

function isAlive(pid) {
  try {
    return Number.isInteger(pid) && process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

function installAlone() {
  process.stderr.write("slipway: installing the dependencies (npm ci), about half a minute\n");
  const quiet = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = process.env.npm_execpath;
  const byScript = npm?.endsWith(".js") || npm?.endsWith(".cjs");
  const { status, error } = byScript
    ? spawnSync(process.execPath, [npm, ...quiet], { cwd: root, stdio: ["ignore", 2, 2] })
    : spawnSync("npm", quiet, { cwd: root, stdio: ["ignore", 2, 2] });
  if (error?.code === "ENOENT") {
    fail("npm is missing: install it (it comes with Node.js from https://nodejs.org), then try again.");
  }
  if (status !== 0) fail("npm ci failed, see above: mend that (network, disk, rights), then try again.");
  writeStamp();
}

/** A checkout that belongs to somebody else keeps no stamp; then each run compares. */
function writeStamp() {
  try {
    writeFileSync(stampFile, stamp);
  } catch {}
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function run() {
  const path = [dirname(node), join(modules, ".bin"), process.env.PATH ?? ""].join(delimiter);
  const child = spawn(node, [file, ...args], { stdio: "inherit", env: { ...process.env, PATH: path } });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) {
    // A terminal sends its signals to both of us.
    const fromTerminal = process.stdin.isTTY && signal !== "SIGTERM";
    process.on(signal, () => fromTerminal || child.kill(signal));
  }
  child.once("error", (error) => {
    fail(
      `the bundled Node.js can't run (${error.message}): use a Linux with glibc 2.28 or newer, or run \`npm ci\` again.`,
    );
  });
  child.once("exit", (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0);
  });
}
