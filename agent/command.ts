/** `slipway agent`: the flags, and the machine's own implementations of the ports. */
import { mkdir, open, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Command } from "commander";
import * as z from "zod";
import type { Disk } from "../fastpatch/disk.ts";
import { type Engine, openEngine } from "../fastpatch/engine.ts";
import { FastPatchError } from "../fastpatch/errors.ts";
import { openFileDisk } from "../fastpatch/file-disk.ts";
import { createGptPrio } from "../fastpatch/gptprio.ts";
import { httpSource } from "../fastpatch/http-source.ts";
import { parseTrust, type TrustRoots } from "../fastpatch/trust.ts";
import { type Clock, systemClock } from "../ports/clock.ts";
import { jsonLogger, type Logger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { createAgent } from "./agent.ts";
import type { Driver } from "./driver.ts";
import { fastpatchDriver } from "./fastpatch-driver.ts";
import { type Authentication, grpcTransport, parseServers, tokenFile } from "./grpc-transport.ts";
import { openHookHost } from "./hook-host.ts";
import type { Host } from "./host.ts";
import { Commands } from "./host-command.ts";
import { IDENTITY_FILE, keepIdentity, machineIdentity } from "./join.ts";
import { bootSlotOf, versionOf } from "./machine-files.ts";
import { serveMetrics } from "./metrics.ts";
import { sentinelDriver } from "./sentinel-driver.ts";
import { openSystemdHost } from "./systemd-host.ts";

/** Size of a new --state-file. */
const STATE_BYTES = 512 * 1024;

const Flags = z.object({
  disk: z.string().optional(),
  bootSlot: z.string().optional(),
  cmdline: z.string(),
  stateFile: z.string().optional(),
  osRelease: z.string().optional(),
  driver: z.enum(["fastpatch", "sentinel"]),
  sentinelFile: z.string().optional(),
  sentinelCommand: z.string().optional(),
  gateway: z.string(),
  ca: z.string(),
  tokenFile: z.string().optional(),
  joinTokenFile: z.string().optional(),
  identityDir: z.string().optional(),
  host: z.enum(["systemd", "hook"]),
  hostRoot: z.string(),
  hook: z.string().optional(),
  bootId: z.string(),
  machineId: z.string().optional(),
  localAddress: z.string(),
  trust: z.string().optional(),
  commands: z.string().optional(),
  metrics: z.string().optional(),
});
type Flags = z.output<typeof Flags>;

export function agentCommand(): Command {
  return new Command("agent")
    .description("Updates and reboots the machine that it runs on, as a gateway allows.")
    .option("--disk <path>", "disk with the two slots and the partition SLIPWAY-STATE")
    .option("--boot-slot <partuuid>", "unique GUID of the slot that runs (default: from --cmdline)")
    .option("--cmdline <file>", "kernel command line", "/proc/cmdline")
    .option(
      "--state-file <file>",
      "driver sentinel without --disk: the agent's memory (default: /var/lib/slipway/state)",
    )
    .option("--os-release <file>", "os-release(5) of the running system (default: /etc/os-release)")
    .option("--driver <name>", "fastpatch or sentinel", "fastpatch")
    .option("--sentinel-file <file>", "a file that says, by existing, that a reboot is needed")
    .option(
      "--sentinel-command <name>",
      "a command of the allow list that says so by exiting with 0, and with 1 that none is",
    )
    .requiredOption("--gateway <list>", "gateways: host:port,host:port")
    .requiredOption("--ca <file>", "PEM: who may sign a gateway's certificate")
    .option("--token-file <file>", "bearer token, read anew for each connection")
    .option("--join-token-file <file>", "join token of a machine outside the cluster")
    .option("--identity-dir <dir>", "where that machine keeps its client certificate")
    .option("--host <kind>", "systemd or hook", "systemd")
    .option("--host-root <dir>", "where the host's file system is mounted", "/")
    .option("--hook <file>", "the executable of --host hook")
    .option("--boot-id <file>", "file with the boot id", "/proc/sys/kernel/random/boot_id")
    .option("--machine-id <file>", "file with the machine id (default: /etc/machine-id)")
    .option("--local-address <address>", "where the machine's own services listen", "127.0.0.1")
    .option("--trust <file>", "public keys that images must be signed with, JSON")
    .option("--commands <file>", "allow list of commands for checks, JSON: {name: [program, argument]}")
    .option("--metrics <address>", "[HOST]:PORT for /metrics, /healthz and /readyz")
    .action(async (options: unknown) => {
      await run(Flags.parse(options));
    });
}

const VERSION = "0.1.0";

async function run(flags: Flags): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort(new Error(name)));
  const clock = systemClock;
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "agent" });
  const host = await openHost(flags);
  const osRelease = flags.osRelease ?? join(flags.hostRoot, "etc/os-release");
  const runningVersion = versionOf(await readFile(osRelease, "utf8"));
  const { driver, state, close } = await openDriver(flags, host, clock, runningVersion);
  const authenticate = authentication(flags, host, clock, log);
  const agent = createAgent({
    host,
    driver,
    state,
    transport: grpcTransport({ servers: parseServers(flags.gateway), authenticate, clock }),
    clock,
    random: systemRandom,
    log,
    runningVersion,
    agentVersion: VERSION,
  });
  const letGo = flags.tokenFile === undefined ? keepIdentity(clock, authenticate) : () => {};
  const metrics =
    flags.metrics === undefined
      ? undefined
      : await serveMetrics({
          address: flags.metrics,
          agent,
          version: VERSION,
          ...(flags.identityDir === undefined ? {} : { identity: join(flags.identityDir, IDENTITY_FILE) }),
        });
  log.info("agent starts", { machineId: host.machineId, boot: host.boot.id, version: runningVersion });
  try {
    await agent.run(stop.signal);
  } finally {
    letGo();
    await metrics?.close();
    await close();
  }
  log.info("agent ends");
}

function need(value: string | undefined, flag: string, what: string): string {
  if (value === undefined) throw new Error(`${what} needs ${flag}`);
  return value;
}

async function openHost(flags: Flags): Promise<Host> {
  const commands =
    flags.commands === undefined ? {} : Commands.parse(JSON.parse(await readFile(flags.commands, "utf8")));
  const { hostRoot: root, bootId: bootIdFile, machineId, localAddress } = flags;
  if (flags.host === "systemd") {
    return openSystemdHost({ root, bootIdFile, machineIdFile: machineId, commands, localAddress });
  }
  const hook = need(flags.hook, "--hook", "--host hook");
  return openHookHost({
    hook,
    bootIdFile,
    machineIdFile: machineId ?? "/etc/machine-id",
    commands,
    localAddress,
  });
}

interface Opened {
  driver: Driver;
  state: Disk;
  close: () => Promise<void>;
}

async function openDriver(flags: Flags, host: Host, clock: Clock, runningVersion: string): Promise<Opened> {
  if (flags.driver === "fastpatch") {
    const { engine, close } = await openSlots(flags, clock);
    return { driver: fastpatchDriver(engine, runningVersion), state: engine.state, close };
  }
  const { sentinelFile: file, sentinelCommand: command } = flags;
  if ((file === undefined) === (command === undefined)) {
    throw new Error("--driver sentinel needs one of --sentinel-file and --sentinel-command");
  }
  const driver = sentinelDriver(file !== undefined ? { file } : { command: command ?? "" }, host);
  if (flags.disk !== undefined) {
    const { engine, close } = await openSlots(flags, clock);
    return { driver, state: engine.state, close };
  }
  const path = flags.stateFile ?? join(flags.hostRoot, "var/lib/slipway/state");
  await mkdir(dirname(path), { recursive: true });
  const handle = await open(path, "a", 0o600);
  if ((await handle.stat()).size === 0) await handle.truncate(STATE_BYTES);
  await handle.close();
  const state = await openFileDisk(path, { claim: false });
  return { driver, state, close: () => state.close() };
}

async function openSlots(
  flags: Flags,
  clock: Clock,
): Promise<{ engine: Engine; close: () => Promise<void> }> {
  const path = need(flags.disk, "--disk", `--driver ${flags.driver}`);
  const runningPartition = flags.bootSlot ?? bootSlotOf(await readFile(flags.cmdline, "utf8"));
  const trust =
    flags.driver === "sentinel"
      ? async () => ({ keys: [], threshold: 1, allowUnsigned: false })
      : trustFile(need(flags.trust, "--trust", "--driver fastpatch"));
  // A mistake in it is said at the start, not with the first image.
  await trust();
  const disk = await openFileDisk(path, { claim: await passiveNode(path, runningPartition) });
  const source = httpSource({ clock });
  const close = async (): Promise<void> => {
    source.close();
    await disk.close();
  };
  try {
    return { engine: await openEngine({ disk, runningPartition, clock, source, trust }), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Read anew each time: who is removed from it is trusted no longer. */
function trustFile(path: string): () => Promise<TrustRoots> {
  return async () => {
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      throw new FastPatchError("TrustInvalid", `the trust file can't be read (${String(error)})`);
    });
    return parseTrust(text);
  };
}

/** The node of the passive slot, to be claimed: the disk itself can't be while other partitions are mounted. */
async function passiveNode(path: string, runningPartition: string): Promise<string | false> {
  const disk = await openFileDisk(path, { claim: false });
  try {
    const control = await createGptPrio({ disk, runningPartition });
    const passive = (await control.slots()).find(({ name }) => name !== control.running);
    const node = `/dev/disk/by-partuuid/${passive?.partition ?? ""}`;
    return (await stat(node).catch(() => undefined))?.isBlockDevice() === true ? node : false;
  } finally {
    await disk.close();
  }
}

function authentication(flags: Flags, host: Host, clock: Clock, log: Logger): () => Promise<Authentication> {
  if (flags.tokenFile !== undefined) return tokenFile(flags.ca, flags.tokenFile);
  return machineIdentity({
    servers: parseServers(flags.gateway),
    caFile: flags.ca,
    joinTokenFile: need(flags.joinTokenFile, "--join-token-file (or --token-file)", "a session"),
    directory: need(flags.identityDir, "--identity-dir", "--join-token-file"),
    machineId: host.machineId,
    clock,
    log,
  });
}
