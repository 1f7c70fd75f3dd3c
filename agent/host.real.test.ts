import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemdDeadMan, unitText } from "./dead-man.ts";
import { openHookHost } from "./hook-host.ts";
import type { Host } from "./host.ts";
import { httpOk, mustRun, runAllowed, runProgram } from "./host-command.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-host-"));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** A program that writes down its arguments, then does `body`. */
async function script(name: string, body: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `#!/bin/sh\necho "$@" >> '${directory}/calls'\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

const calls = async (): Promise<string[]> =>
  (await readFile(join(directory, "calls"), "utf8")).trim().split("\n");

describe("the hook host", () => {
  async function host(body: string): Promise<Host> {
    await writeFile(join(directory, "boot-id"), "abc 2\n");
    await writeFile(join(directory, "machine-id"), `${"0a".repeat(16)}\n`);
    return openHookHost({
      hook: await script("hook", body),
      bootIdFile: join(directory, "boot-id"),
      machineIdFile: join(directory, "machine-id"),
      commands: { yes: ["true"], no: ["false"], slow: ["sleep", "30"] },
      localAddress: "127.0.0.1",
    });
  }

  it("passes each verb on", async () => {
    const machine = await host("exit 0");
    expect(machine.boot).toEqual({ id: "abc", softReboots: 2 });
    await machine.armDeadMan(480);
    await machine.disarmDeadMan();
    await machine.reboot("Kexec");
    expect(await machine.unitActive("kubelet.service")).toBe(true);
    expect(await calls()).toEqual([
      "arm-deadman 480",
      "disarm-deadman",
      "reboot Kexec",
      "unit-active kubelet.service",
    ]);
  });

  it("carries the reason of a refusal", async () => {
    const machine = await host('echo "a backup runs" >&2; exit 3');
    await expect(machine.armDeadMan(1)).rejects.toThrow("exited with 3: a backup runs");
    await expect(machine.reboot("Reboot")).rejects.toThrow("refused to reboot: a backup runs");
    expect(await machine.unitActive("x")).toBe(false);
  });

  it("runs the commands of the allow list and no others", async () => {
    const machine = await host("");
    expect(await machine.runCommand("yes", 5_000)).toBe(0);
    expect(await machine.runCommand("no", 5_000)).toBe(1);
    expect(await machine.runCommand("slow", 50)).toBe(124);
    await expect(machine.runCommand("rm", 50)).rejects.toThrow("not on this machine's allow list");
    await expect(machine.runCommand("toString", 50)).rejects.toThrow("not on this machine's allow list");
  });

  it("refuses a machine id that is none", async () => {
    await host("");
    await writeFile(join(directory, "machine-id"), "node-1\n");
    const options = {
      hook: "x",
      bootIdFile: join(directory, "boot-id"),
      machineIdFile: join(directory, "machine-id"),
      commands: {},
      localAddress: "127.0.0.1",
    };
    await expect(openHookHost(options)).rejects.toThrow("machine-id(5)");
  });
});

describe("programs", () => {
  it("that can't be started, fail or hang are told apart", async () => {
    await expect(runProgram([join(directory, "nothing")], 1_000)).rejects.toThrow("can't run");
    expect((await runProgram(["false"], 1_000)).code).toBe(1);
    expect((await runProgram(["sleep", "30"], 50)).code).toBeUndefined();
    await expect(mustRun(["sleep", "30"], 50)).rejects.toThrow("did not end within 50 ms");
    expect(await runAllowed({ a: ["sh", "-c", "exit 7"] }, "a", 1_000)).toBe(7);
  });
});

describe("an HTTP check", () => {
  it("is good for 2xx only, and asks the machine's own address", async () => {
    const server = createServer((request, response) => {
      response.writeHead(request.url === "/good" ? 204 : request.url === "/moved" ? 302 : 500).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.9", resolve);
    });
    const { port } = server.address() as AddressInfo;
    const ask = (path: string): Promise<boolean> =>
      httpOk(`http://localhost:${port}${path}`, 5_000, "127.0.0.9");
    expect(await ask("/good")).toBe(true);
    expect(await ask("/moved")).toBe(false);
    expect(await ask("/bad")).toBe(false);
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
    expect(await ask("/good")).toBe(false);
  });
});

describe("the dead man's switch of a systemd host", () => {
  const stamp = (): Promise<string> => readFile(join(directory, "var/lib/slipway/deadman"), "utf8");

  it("installs its unit once, writes the stamp before it starts, and takes both back in reverse", async () => {
    const systemctl = await script("systemctl", "");
    const deadMan = systemdDeadMan(directory, [systemctl]);
    await deadMan.arm(480);
    expect(await stamp()).toBe("480\n");
    expect(await readFile(join(directory, "etc/systemd/system/slipway-deadman.service"), "utf8")).toBe(
      unitText,
    );
    await deadMan.arm(60);
    expect(await stamp()).toBe("60\n");
    await deadMan.disarm();
    await expect(stamp()).rejects.toThrow("ENOENT");
    const unit = "slipway-deadman.service";
    const arming = [`enable --quiet ${unit}`, `restart ${unit}`, `is-active --quiet ${unit}`];
    expect(await calls()).toEqual(["daemon-reload", ...arming, ...arming, `stop ${unit}`]);
  });

  it("is not armed where systemd does not run it", async () => {
    const systemctl = await script("systemctl", '[ "$1" != is-active ]');
    await expect(systemdDeadMan(directory, [systemctl]).arm(480)).rejects.toThrow("is-active");
  });

  it("is at rest on a host that never armed one", async () => {
    await mkdir(join(directory, "etc"));
    await systemdDeadMan(directory, ["false"]).disarm();
  });

  it("fires once: the stamp is gone before the machine is", async () => {
    const systemctl = await script(
      "systemctl",
      `test -e '${directory}/deadman' && echo present >> '${directory}/calls'; true`,
    );
    await writeFile(join(directory, "deadman"), "0\n");
    const line = /^ExecStart=\/bin\/sh -c '(.*)'$/m.exec(unitText)?.[1] ?? "";
    const command = line
      .replaceAll("/var/lib/slipway/deadman", join(directory, "deadman"))
      .replace("systemctl", systemctl);
    await mustRun(["/bin/sh", "-c", command], 10_000);
    expect(await calls()).toEqual(["--force --force reboot"]);
  });
});
