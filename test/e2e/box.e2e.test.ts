/** A box within the box of the tests: whatever ends it, nothing of it is left. */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { waitUntil } from "../../hack/plane/wait.ts";
import { BOX_VARIABLE, Box, type BoxFacts, boxFacts } from "../../hack/real/box.ts";

const MAIN = resolve(import.meta.dirname, "../../hack/real/main.ts");
const CGROUPS = "/sys/fs/cgroup";
const WITHIN = 90_000;

const boxes: Box[] = [];

afterEach(async () => {
  await Promise.all(boxes.splice(0).map((box) => box.stop()));
});

/** A box in which a cluster with real nodes runs. */
async function startCluster(): Promise<Box> {
  const box = await Box.start({ images: boxFacts().images });
  boxes.push(box);
  void box.run(process.execPath, [MAIN]);
  const ready = join(box.facts.directory, "cluster-ready");
  await waitUntil(() => existsSync(ready), { what: "the nodes are Ready", deadline: WITHIN, interval: 250 });
  return box;
}

/** What there is of a box, one line each. */
async function traces({ cgroup, directory }: BoxFacts): Promise<string[]> {
  const cgroups = readdirSync(CGROUPS)
    .map((hierarchy) => join(CGROUPS, hierarchy, cgroup))
    .filter((path) => existsSync(path));
  const { stdout } = await promisify(execFile)("losetup", [
    "--list",
    "--noheadings",
    "--output",
    "NAME,BACK-FILE",
  ]);
  const devices = stdout.split("\n").filter((line) => line.includes(directory));
  const processes = readdirSync("/proc").filter(
    (pid) => /^\d+$/.test(pid) && environment(pid).includes(directory),
  );
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(directory));
  return [
    ...cgroups,
    ...devices,
    ...processes.map((pid) => `process ${pid}`),
    ...mounts,
    ...[directory].filter((path) => existsSync(path)),
  ];
}

/** Of a process that is no zombie. */
function environment(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return "";
  }
}

test("a cluster leaves nothing behind when its box is killed", async () => {
  const box = await startCluster();
  const before = await traces(box.facts);
  // The look itself sees something: cgroups, three disks, processes, the directory.
  expect(before.filter((line) => line.startsWith(CGROUPS))).toHaveLength(box.facts.hierarchies.length);
  expect(before.filter((line) => line.startsWith("/dev/loop"))).toHaveLength(3);
  expect(before.filter((line) => line.startsWith("process ")).length).toBeGreaterThan(10);

  process.kill(box.outerPid, "SIGKILL");
  await waitUntil(async () => (await traces(box.facts)).length === 0, {
    what: "nothing is left of the box",
    deadline: WITHIN,
    interval: 100,
  });
});

test("a cluster leaves nothing behind when its box is stopped", async () => {
  const box = await startCluster();
  await box.stop();
  expect(await traces(box.facts)).toEqual([]);
});

test("a program outside of a box is told where it belongs", () => {
  const file = process.env[BOX_VARIABLE];
  try {
    delete process.env[BOX_VARIABLE];
    expect(() => boxFacts()).toThrow(/npm run e2e/);
  } finally {
    process.env[BOX_VARIABLE] = file;
  }
});
