/**
 * The dead man's switch of a systemd host (design, rule 11): a service of the host, not of
 * any container. While a stamp file exists it runs in every boot, sleeps for the stamp's
 * seconds, removes the stamp, and reboots: it fires once at most. docs/host.md
 * says what the file systems must share.
 */
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { mustRun } from "./host-command.ts";

const STAMP = "/var/lib/slipway/deadman";
const UNIT = "slipway-deadman.service";
const UNIT_FILE = `/etc/systemd/system/${UNIT}`;
const DEADLINE = 30_000;

/** Started early, by sysinit.target, so that a boot without network, kubelet or runtime is covered. */
export const unitText = `# Written by the Slipway agent.
[Unit]
Description=Slipway dead man's switch
ConditionPathExists=${STAMP}
DefaultDependencies=no
RequiresMountsFor=${STAMP}
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
ExecStart=/bin/sh -c 'read -r seconds < ${STAMP}; sleep "$seconds"; rm -f ${STAMP}; sync; systemctl --force --force reboot'

[Install]
WantedBy=sysinit.target
`;

export interface DeadMan {
  arm(seconds: number): Promise<void>;
  disarm(): Promise<void>;
}

/**
 * `root` is where the host's files are seen; `systemctl` the program and its first
 * arguments, for example `["chroot", "/host", "systemctl"]`.
 */
export function systemdDeadMan(root: string, systemctl: readonly string[]): DeadMan {
  const stamp = join(root, STAMP);
  const unit = join(root, UNIT_FILE);
  return {
    async arm(seconds) {
      if ((await readFile(unit, "utf8").catch(() => "")) !== unitText) {
        await writeDurably(unit, unitText);
        await mustRun([...systemctl, "daemon-reload"], DEADLINE);
      }
      await mustRun([...systemctl, "enable", "--quiet", UNIT], DEADLINE);
      await writeDurably(stamp, `${seconds}\n`);
      await mustRun([...systemctl, "restart", UNIT], DEADLINE);
      await mustRun([...systemctl, "is-active", "--quiet", UNIT], DEADLINE);
    },
    async disarm() {
      await rm(stamp, { force: true });
      await syncDirectory(dirname(stamp)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      const installed = await readFile(unit, "utf8").catch(() => undefined);
      if (installed !== undefined) await mustRun([...systemctl, "stop", UNIT], DEADLINE);
    },
  };
}

async function writeDurably(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const file = await open(`${path}.tmp`, "w", 0o644);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
  await syncDirectory(dirname(path));
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
