/** Files that are put into a directory which others put theirs into. */
import { execFileSync } from "node:child_process";
import files, {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, test, vi } from "vitest";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { NoLinks, PayloadDeposit, type Written } from "./deposit.ts";

let root = "";
let deposit: PayloadDeposit;
const another = (): PayloadDeposit => new PayloadDeposit({ root, clock: systemClock, random: systemRandom });

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "slipway-deposit-"));
  deposit = another();
});
afterEach(() => rm(root, { recursive: true }));

async function* pieces(...texts: string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield Buffer.from(text);
}

async function written(text: string, by = deposit): Promise<Written> {
  const whole = await by.write(pieces(text), 100);
  if (whole === undefined) throw new Error("it was too long");
  return whole;
}

it("serves a whole file, the same again does nothing, and of one that is too long nothing stays", async () => {
  for (let n = 0; n < 2; n += 1) expect(await deposit.keep(await written("new"), "a.gz")).toBe(true);
  expect(await deposit.write(pieces("1234", "5678"), 7)).toBeUndefined();
  expect(await readdir(root)).toEqual(["a.gz"]);
  expect(await readFile(join(root, "a.gz"), "utf8")).toBe("new");
});

test.each<[string, (path: string) => unknown]>([
  ["another file", (path) => writeFile(path, "old")],
  ["one of the same size", (path) => writeFile(path, "new".toUpperCase())],
  ["an empty file", (path) => writeFile(path, "")],
  [
    "a link to the same content",
    async (path) => {
      await writeFile(join(root, "target"), "new");
      await symlink("target", path);
    },
  ],
  ["a link to nothing", (path) => symlink("nothing", path)],
  ["a directory", (path) => mkdir(path)],
  ["a FIFO", (path) => execFileSync("mkfifo", [path])],
])("replaces nothing: %s", async (_, put) => {
  await put(join(root, "a.gz"));
  const list = async (): Promise<unknown> => {
    const names = await readdir(root);
    return await Promise.all(names.map(async (name) => [name, (await lstat(join(root, name))).ino]));
  };
  const before = await list();
  expect(await deposit.keep(await written("new"), "a.gz")).toBe(false);
  expect(await list()).toEqual(before);
});

it("gives a name that two gateways ask for at once to one of them, and to both where the file is the same", async () => {
  const other = another();
  for (let n = 0; n < 20; n += 1) {
    const [one, two] = [await written("one"), await written("two", other)];
    const [won, lost] = await Promise.all([deposit.keep(one, `${n}`), other.keep(two, `${n}`)]);
    expect(lost).toBe(!won);
    expect(await readFile(join(root, `${n}`), "utf8")).toBe(won ? "one" : "two");
    const same = [await written("same"), await written("same", other)] as const;
    expect(await Promise.all([deposit.keep(same[0], `s${n}`), other.keep(same[1], `s${n}`)])).toEqual([
      true,
      true,
    ]);
  }
  expect(await readdir(root)).toHaveLength(40);
});

// No file system of a machine that runs tests is without links.
it.each(["EPERM", "EOPNOTSUPP", "ENOSYS"])("says so where there are no links: %s", async (code) => {
  const link = vi.spyOn(files, "link").mockRejectedValue(Object.assign(new Error(code), { code }));
  syncBuiltinESMExports();
  try {
    await expect(deposit.keep(await written("new"), "a.gz")).rejects.toThrow(NoLinks);
  } finally {
    link.mockRestore();
    syncBuiltinESMExports();
  }
  expect(await readdir(root)).toEqual([]);
});

it("takes away what was begun more than a day ago, and no file of others", async () => {
  const now = systemClock.now() / 1000;
  for (const [name, age] of [
    [".upload-old", 25],
    [".upload-new", 1],
    ["old.gz", 25],
  ] as const) {
    await writeFile(join(root, name), "");
    await utimes(join(root, name), now, now - age * 3600);
  }
  await deposit.clean();
  expect((await readdir(root)).toSorted()).toEqual([".upload-new", "old.gz"]);
});
