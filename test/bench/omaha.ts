/**
 * `npm run bench -- omaha`: how many checks a gateway answers a second, over 32 connections that stay, beside a bare
 * server that reads and writes the same; first with 1,000 and then with 58,000 machines known, in a real etcd. Steady:
 * nothing is new. Throttled: a release is there and its rate is reached. Events: whole updates, one after the other.
 */
import { fork } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import { keys } from "../../coordination/keys.ts";
import type { ForeignMachine, Offer } from "../../coordination/records.ts";
import { startEtcd } from "../../hack/plane/etcd.ts";
import { temporaryDirectory } from "../../hack/plane/plane.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { Child } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { FLATCAR } from "../omaha/requests.ts";
import { BOOT, type Load, type Measured, machineId } from "./omaha-case.ts";

const KNOWN = [1_000, 58_000];
const [PROCESSES, CONNECTIONS] = [2, 32];
/** Of one measurement, and before it, ms: the gateway has just started, and Node.js compiles what is asked often. */
const [LASTS, WARM_UP] = [10_000, 10_000];
/** When a rollout begins each machine's record is written once, to say why it waits; that is not what is measured. */
const ALL_ASK_ONCE = 20_000;
const GROUP = "bench";
const [RUNNING, NEXT] = ["1.0.0", "1.1.0"];
/** A group may keep so many machines down, and none is to wait for that. */
const BUDGET = 10_000;
const MAIN = join(import.meta.dirname, "../../main.ts");
/** A folder for the gateway's processor profiles; for who makes it faster. */
const PROFILE = process.env["BENCH_PROFILE"];
const parts = { clock: systemClock, random: systemRandom, log: silentLogger };

interface Result {
  requestsPerSecond: number;
  /** Of the answering process' processor time for each request, µs: what others do at the same time changes it little. */
  cpu: number;
  /** Ms. */
  p50: number;
  p99: number;
  failures: number;
  offers: number;
}

export async function run({ onProgress }: { onProgress: (line: string) => void }): Promise<object> {
  const runs = [];
  for (const known of KNOWN) runs.push(await measure(known, onProgress));
  const [few, many] = runs;
  const fewOverMany = (of: "steady" | "throttled"): number =>
    round((few?.[of].requestsPerSecond ?? 0) / (many?.[of].requestsPerSecond ?? 1));
  return {
    connections: CONNECTIONS,
    runs,
    ...{ steadyOfFewOverMany: fewOverMany("steady"), throttledOfFewOverMany: fewOverMany("throttled") },
    goals: {
      ...{ steadyOfBare: 0.6, throttledOfBare: 0.4, p99: 50 },
      ...{ steadyOfFewOverMany: 1, throttledOfFewOverMany: 1 },
    },
  };
}

async function measure(known: number, onProgress: (line: string) => void) {
  const etcd = await startEtcd();
  const port = connectEtcd({ endpoints: etcd.endpoints, ...parts });
  const directory = temporaryDirectory("bench-omaha");
  let [offer, stop]: [Partial<Offer>, () => void] = [{ ways: way(RUNNING) }, () => {}];
  let gateway: Child | undefined;
  try {
    await seed(port, known);
    const gates = await lead(port, () => offer);
    stop = gates.stop;
    const started = await startGateway(directory, etcd.endpoints);
    gateway = started.child;
    const { edge } = started;
    const bare = await startBare();
    const at = {
      port: edge,
      pid: gateway.pid,
      path: "/v1/update/",
      first: 0,
      machines: known,
      plays: "check",
    } as const;
    const say = (name: string, result: object): void =>
      onProgress(`${known} ${name}: ${JSON.stringify(result)}`);
    try {
      const before = await generate({ ...at, ...bare });
      say("bare", before);
      const rssBare = rss(bare.pid);
      const steady = await generate(at);
      say("steady", steady);
      const rssSteady = rss(gateway.pid);
      offer = { ways: way(NEXT), rate: { updates: 10, period: 3_600_000 } };
      await gates.write();
      const throttled = await generate({ ...at, warmUp: ALL_ASK_ONCE });
      say("throttled", throttled);
      const after = await generate({ ...at, ...bare });
      say("bare", after);
      offer = { ways: way(NEXT) };
      await gates.write();
      const events = await generate({ ...at, plays: "update" });
      say("events", events);
      const bareRate = (before.requestsPerSecond + after.requestsPerSecond) / 2;
      return {
        known,
        bare: [before, after],
        ...{ steady, steadyOfBare: round(steady.requestsPerSecond / bareRate) },
        ...{ throttled, throttledOfBare: round(throttled.requestsPerSecond / bareRate) },
        events,
        rssMiB: { bare: rssBare, steady: rssSteady, atTheEnd: rss(gateway.pid) },
      };
    } finally {
      bare.stop();
    }
  } finally {
    stop();
    await gateway?.stop();
    await port.close();
    await etcd.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function way(version: string): Offer["ways"] {
  const payload = { name: "update.gz", size: 1, sha256: "ab".repeat(32) };
  const codebases = ["https://images.example.org/"];
  return { amd64: [{ release: `os-${version}`, version, codebases, payload, extras: [] }] };
}

/** As machines leave them that ask every 45 min, written down at some time of the last five. */
async function seed(port: EtcdPort, known: number): Promise<void> {
  const now = Date.now();
  const message = `It runs ${RUNNING}; the target is ${RUNNING}.`;
  const of = (n: number): ForeignMachine => ({
    ...{ id: machineId(n), group: GROUP, product: FLATCAR, version: RUNNING, track: GROUP },
    ...{ board: "amd64-usr", oem: "qemu", alias: "", bootId: BOOT, failed: [] },
    ...{ firstSeen: now - 86_400_000, lastSeen: now - Math.round((n / known) * 300_000) },
    why: { reason: "UpToDate", message },
  });
  for (let first = 0; first < known; first += 100) {
    const puts = Array.from({ length: Math.min(100, known - first) }, (_, i) => ({
      put: keys.foreignMachine(machineId(first + i)),
      value: JSON.stringify(of(first + i)),
    }));
    const { outcome } = await port.txn([], puts);
    if (outcome !== "committed") throw new Error(`can't seed etcd: ${outcome}`);
  }
}

/** What a manager does: gates and an offer that are renewed. */
async function lead(port: EtcdPort, offer: () => Partial<Offer>) {
  const room = createCoordination({ etcd: port, ...parts });
  const leader = await room.raiseEpoch(await room.readEpoch(), true);
  if (leader === undefined) throw new Error("another leads a fresh etcd");
  const budget = `group/${GROUP}`;
  const write = async (): Promise<void> => {
    const validUntil = Date.now() + 30_000;
    const machines = { budgets: [budget], needs: 1000, open: true };
    const offered = { group: GROUP, tracks: [GROUP], product: FLATCAR, share: 1, threshold: 1000, ways: {} };
    await room.writeGates(leader, {
      groups: [openGate(GROUP, validUntil, { machines })],
      budgets: [{ budget, max: BUDGET, unavailable: [], validUntil }],
      offers: [{ ...offered, ...offer(), validUntil }],
    });
  };
  await write();
  const timer = setInterval(() => void write(), 10_000);
  return { write, stop: () => clearInterval(timer) };
}

async function startGateway(directory: string, endpoints: readonly string[]) {
  const [listen = 0, metrics = 0, edge = 0] = await freePorts(3);
  const kubeconfig = join(directory, "kubeconfig");
  const cluster = { name: "none", cluster: { server: "http://127.0.0.1:1" } };
  const context = { name: "none", context: { cluster: "none", user: "none" } };
  const users = [{ name: "none", user: { token: "none" } }];
  // Nobody asks Kubernetes here: no agent comes.
  writeFileSync(
    kubeconfig,
    JSON.stringify({ clusters: [cluster], contexts: [context], users, "current-context": "none" }),
  );
  const certificates = join(directory, "gateway");
  mkdirSync(certificates);
  const child = await Child.start({
    name: "gateway",
    command: process.execPath,
    args: [
      ...(PROFILE === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", PROFILE]),
      ...[MAIN, "gateway", "--listen", `127.0.0.1:${listen}`, "--metrics", `127.0.0.1:${metrics}`],
      ...["--machines", `127.0.0.1:${edge}`, "--kubeconfig", kubeconfig, "--cert-dir", certificates],
      ...["--service-account", "slipway-system:slipway-agent", "--etcd", endpoints.join(",")],
    ],
    logFile: join(directory, "gateway.log"),
    env: { PATH: process.env["PATH"] },
  });
  const ready = async (): Promise<boolean> =>
    (await fetch(`http://127.0.0.1:${metrics}/readyz`).then(({ status }) => status)) === 200;
  await waitUntil(ready, { what: "the gateway is ready", deadline: 60_000 });
  return { child, edge };
}

async function startBare(): Promise<{ port: number; pid: number; stop: () => void }> {
  const child = fork(join(import.meta.dirname, "omaha-bare/main.ts"));
  const port = await new Promise<number>((resolve, reject) => {
    child.once("message", (told) => resolve(Number(told)));
    child.once("exit", () => reject(new Error("the bare server ended")));
  });
  return { port, pid: child.pid ?? 0, stop: () => child.kill() };
}

type Case = Pick<Load, "port" | "path" | "first" | "machines" | "plays"> & { warmUp?: number };

/** `pid`: of who answers. */
async function generate({ pid, ...load }: Case & { pid: number }) {
  const spent = cpuOf(pid);
  const share = Math.ceil(load.machines / PROCESSES);
  const all = await Promise.all(
    Array.from({ length: PROCESSES }, async (_, index) => {
      const own: Load = {
        ...{ warmUp: WARM_UP, ...load, first: load.first + index * share, machines: share },
        ...{ group: GROUP, version: RUNNING, target: NEXT, lasts: LASTS },
        connections: CONNECTIONS / PROCESSES,
      };
      const child = fork(join(import.meta.dirname, "omaha-load/main.ts"));
      return await new Promise<Measured>((resolve, reject) => {
        child.once("message", (measured) => resolve(measured as Measured));
        child.once("exit", () => reject(new Error("a load generator ended")));
        child.send(own);
      });
    }),
  );
  const latencies = all.flatMap((one) => one.latencies).toSorted((a, b) => a - b);
  const sum = (of: (one: Measured) => number): number => all.reduce((total, one) => total + of(one), 0);
  const at = (share: number): number => round(latencies[Math.floor(latencies.length * share)] ?? 0);
  return {
    requestsPerSecond: Math.round(sum(({ requests }) => requests) / (LASTS / 1000)),
    cpu: Math.round((cpuOf(pid) - spent) / sum(({ all: one }) => one)),
    ...{ p50: at(0.5), p99: at(0.99) },
    ...{ failures: sum(({ failures }) => failures), offers: sum(({ offers }) => offers) },
  } satisfies Result;
}

/** utime and stime (proc(5)), of which 100 are a second; µs. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** VmRSS (proc(5)), MiB. */
function rss(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
