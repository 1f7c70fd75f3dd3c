/**
 * Completes package-lock.json after `npm install`: npm leaves out an optional package
 * that the registry at hand does not serve (binaries for other platforms), and `npm ci`
 * then refuses the lock file everywhere. Slipway is developed on Linux, so such a
 * package is recorded by version and platform alone, without a hash; npm skips it.
 *
 * Usage: node hack/lockfile.mjs
 */
import { readFileSync, writeFileSync } from "node:fs";

const OS = ["android", "darwin", "freebsd", "linux", "openharmony", "win32"];
const CPU = {
  arm64: "arm64",
  x64: "x64",
  arm: "arm",
  armv7: "arm",
  ia32: "ia32",
  ppc64: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
};

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
const added = [];
for (const [at, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (at === "" || `node_modules/${name}` in lock.packages || `${at}/node_modules/${name}` in lock.packages)
      continue;
    const words = name.split(/[-/]/);
    const os = OS.find((word) => words.includes(word));
    const cpu = words.map((word) => CPU[word]).find((word) => word !== undefined);
    if (os === undefined || cpu === undefined) continue;
    const libc = words.includes("musl") || words.includes("musleabihf") ? { libc: ["musl"] } : {};
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      dev: true,
      ...libc,
      optional: true,
      os: [os],
    };
    added.push(name);
  }
}
const [root, ...rest] = Object.entries(lock.packages);
rest.sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries([root, ...rest]);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
process.stdout.write(`package-lock.json: ${added.length} packages of other platforms recorded\n`);
