import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openFileDisk } from "../fastpatch/file-disk.ts";
import { createTable, referenceLayout } from "../fastpatch/partition-table.ts";
import { type FakeServer, startFakeServer } from "./fake-server.ts";

const MiB = 1024 * 1024;
const guid = (digit: string): string => `${digit.repeat(8)}-0000-4000-8000-000000000000`;

let directory: string;
let server: FakeServer;
let child: ChildProcess | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-command-"));
  server = await startFakeServer();
  const files: Record<string, string> = {
    ca: server.ca,
    token: "token\n",
    "os-release": "VERSION_ID=1.0.0\n",
    "boot-id": "boot-1\n",
    "machine-id": `${"0a".repeat(16)}\n`,
    trust: '{"allowUnsigned": true}',
    cmdline: `quiet slipway.slot=${guid("a")}\n`,
    hook: `#!/bin/sh\necho "$@" >> '${directory}/calls'\n`,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  await chmod(join(directory, "hook"), 0o755);
});

afterEach(async () => {
  child?.kill("SIGKILL");
  server.close();
  await rm(directory, { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);

function start(...flags: string[]): {
  ended: Promise<{ code: number | null; stderr: string }>;
  stdout: () => string;
} {
  const common = Object.entries({
    gateway: `localhost:${server.port}`,
    ca: path("ca"),
    "token-file": path("token"),
    "os-release": path("os-release"),
    host: "hook",
    hook: path("hook"),
    "boot-id": path("boot-id"),
    "machine-id": path("machine-id"),
  }).map(([flag, value]) => `--${flag}=${value}`);
  const agent = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), ...common, ...flags]);
  child = agent;
  let stdout = "";
  let stderr = "";
  agent.stdout.on("data", (data) => {
    stdout += String(data);
  });
  agent.stderr.on("data", (data) => {
    stderr += String(data);
  });
  const ended = new Promise<{ code: number | null; stderr: string }>((resolve) => {
    agent.on("close", (code) => resolve({ code, stderr }));
  });
  return { ended, stdout: () => stdout };
}

describe("slipway agent", () => {
  it("reports its slots to a gateway, and ends cleanly on SIGTERM", async () => {
    await writeFile(path("disk"), "");
    await truncate(path("disk"), 16 * MiB);
    const disk = await openFileDisk(path("disk"));
    const guids = [guid("e"), guid("a"), guid("b"), guid("5")] as const;
    const partitions = referenceLayout(guids, { esp: MiB, slot: 4 * MiB, state: MiB });
    await createTable(disk, { diskGuid: guid("d"), partitions });
    await disk.flush();
    await disk.close();

    const agent = start("--disk", path("disk"), "--cmdline", path("cmdline"), "--trust", path("trust"));
    await Promise.race([
      vi.waitFor(() => expect(server.requests[0]?.case).toBe("hello"), 20_000),
      agent.ended.then(({ stderr }) => expect(stderr).toBe("")),
    ]);
    expect(server.requests[0]?.value).toMatchObject({
      boot: { bootId: "boot-1", softReboots: 0 },
      observed: {
        runningVersion: "1.0.0",
        slots: [
          { name: "A", priority: 2, successful: true, running: true },
          { name: "B", priority: 0, successful: false, running: false },
        ],
      },
    });
    expect(server.tokens).toEqual(["Bearer token"]);
    await vi.waitFor(async () => expect(await readFile(path("calls"), "utf8")).toBe("disarm-deadman\n"));
    child?.kill("SIGTERM");
    expect(await agent.ended).toEqual({ code: 0, stderr: "" });
    for (const line of agent.stdout().trim().split("\n")) expect(JSON.parse(line)).toHaveProperty("message");
  });

  it("watches a sentinel file without any disk", async () => {
    await writeFile(path("reboot-required"), "");
    const flags = { "sentinel-file": path("reboot-required"), "state-file": path("state/agent") };
    start("--driver=sentinel", ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`));
    await vi.waitFor(() => {
      const reports = server.requests.filter((body) => body.case === "hello");
      expect(reports[0]?.value.observed?.rebootRequired).toBe(true);
    }, 20_000);
  });

  it("says what is wrong with its flags, and does nothing", async () => {
    const { code, stderr } = await start("--driver", "sentinel").ended;
    expect(code).toBe(1);
    expect(stderr).toBe(
      "slipway agent: --driver sentinel needs one of --sentinel-file and --sentinel-command\n",
    );
    expect((await start("--trust", path("trust")).ended).stderr).toContain("--driver fastpatch needs --disk");
  });
});
