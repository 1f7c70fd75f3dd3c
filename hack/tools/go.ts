/** Builds the control plane's binaries from the Go module proxy. */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, renameSync, rmSync } from "node:fs";
import { totalmem } from "node:os";
import { basename, join } from "node:path";
import { onPath } from "../plane/process.ts";
import { type Environment, type Pins, TEMPORARY, ToolError } from "./cache.ts";

export type GoTool = keyof typeof GO_TOOLS;

/** Package of each tool, and the seconds that its build takes alone, from nothing, on two cores. */
export const GO_TOOLS = {
  etcd: { package: "go.etcd.io/etcd/server/v3", seconds: 48 },
  etcdctl: { package: "go.etcd.io/etcd/etcdctl/v3", seconds: 3 },
  etcdutl: { package: "go.etcd.io/etcd/etcdutl/v3", seconds: 3 },
  "kube-apiserver": { package: "k8s.io/kubernetes/cmd/kube-apiserver", seconds: 184 },
  "kube-controller-manager": { package: "k8s.io/kubernetes/cmd/kube-controller-manager", seconds: 66 },
  "kube-scheduler": { package: "k8s.io/kubernetes/cmd/kube-scheduler", seconds: 7 },
  kubectl: { package: "k8s.io/kubernetes/cmd/kubectl", seconds: 15 },
  kwok: { package: "sigs.k8s.io/kwok/cmd/kwok", seconds: 45 },
} as const;

/** go.mod's `go` line; an older Go of 1.21 or later fetches this one by itself. */
const OLDEST_GO = [1, 26] as const;
const GIBIBYTE = 2 ** 30;
/** Linking two servers at once takes about 5 GiB. */
const MEMORY_FOR_TWO_LINKS = 7 * GIBIBYTE;
const PROGRESS_EVERY = 30_000;
const BUILD_DEADLINE = 40 * 60_000;

/** Linker flags. Without the version the server calls itself v0.0.0-master. */
export function linkerFlags(kubernetes: string): string {
  const [major, minor] = kubernetes.split(".");
  const version = "k8s.io/component-base/version";
  return [
    "-s -w",
    `-X ${version}.gitVersion=v${kubernetes}`,
    `-X ${version}.gitMajor=${major}`,
    `-X ${version}.gitMinor=${minor}`,
  ].join(" ");
}

/**
 * Builds `names` with one call, which shares their common packages, and renames each into
 * `directory` when it is complete.
 */
export async function buildGoTools(
  names: readonly GoTool[],
  directory: string,
  context: { cache: string; env: Environment; pins: Pins; onProgress: (line: string) => void },
): Promise<void> {
  const { env, cache, pins, onProgress } = context;
  const go = findGo(env);
  const goEnv = goEnvironment(env, cache);
  checkGo(go, goEnv);
  const temporary = mkdtempSync(join(directory, TEMPORARY));
  const estimate = names.reduce((sum, name) => sum + GO_TOOLS[name].seconds, 0);
  onProgress(
    `building ${names.join(", ")} from source, once for this machine: at most ${minutes(estimate)} on two cores`,
  );
  const start = performance.now();
  const timer = setInterval(() => {
    onProgress(
      `still building: ${minutes((performance.now() - start) / 1000)} of at most ${minutes(estimate)}`,
    );
  }, PROGRESS_EVERY);
  try {
    const packages = names.map((name) => GO_TOOLS[name].package);
    const serial = totalmem() < MEMORY_FOR_TWO_LINKS ? ["-p", "1"] : [];
    await run(
      go,
      [
        "build",
        "-buildvcs=false",
        ...serial,
        "-ldflags",
        linkerFlags(pins.kubernetes),
        "-o",
        `${temporary}/`,
        ...packages,
      ],
      goEnv,
    );
    for (const name of names) renameSync(join(temporary, outputName(name)), join(directory, name));
    onProgress(`built in ${minutes((performance.now() - start) / 1000)}, kept in ${directory}`);
  } finally {
    clearInterval(timer);
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** `go build` names a program after the last element of its path that is no version. */
function outputName(name: GoTool): string {
  return basename(GO_TOOLS[name].package.replace(/\/v\d+$/, ""));
}

function findGo(env: Environment): string {
  const go = onPath("go", env.PATH ?? "");
  if (go === undefined) {
    throw new ToolError(
      "Go is missing: install Go 1.26 or newer from https://go.dev/dl and put it on PATH, or set KUBEBUILDER_ASSETS to a folder with the binaries of this version.",
    );
  }
  return go;
}

/** Caches under ours where the home has no room for Go's own. */
export function goEnvironment(env: Environment, cache: string): Record<string, string | undefined> {
  const result: Record<string, string | undefined> = { ...env, CGO_ENABLED: "0", GOWORK: "off" };
  if (homeIsWritable(env)) return result;
  result.GOCACHE ??= join(cache, "go-build");
  result.GOMODCACHE ??= join(cache, "go-mod");
  result.GOPATH ??= join(cache, "go");
  return result;
}

function homeIsWritable(env: Environment): boolean {
  try {
    accessSync(env.HOME ?? "", constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function checkGo(go: string, env: Record<string, string | undefined>): void {
  const { stdout, stderr, status, error } = spawnSync(go, ["env", "GOVERSION"], {
    cwd: import.meta.dirname,
    env,
    encoding: "utf8",
    timeout: 300_000,
  });
  const version = /go(\d+)\.(\d+)/.exec(stdout ?? "");
  const [major, minor] = [Number(version?.[1] ?? 0), Number(version?.[2] ?? 0)];
  const ok = major > OLDEST_GO[0] || (major === OLDEST_GO[0] && minor >= OLDEST_GO[1]);
  if (status === 0 && ok) return;
  const found = version === null ? (error?.message ?? lastLine(stderr ?? "")) : `${version[0]} found`;
  throw new ToolError(
    `Go ${OLDEST_GO.join(".")} or newer is needed (${found}): install it from https://go.dev/dl and put it first on PATH.`,
  );
}

async function run(
  go: string,
  args: readonly string[],
  env: Record<string, string | undefined>,
): Promise<void> {
  const child = spawn(go, args, {
    cwd: import.meta.dirname,
    env,
    stdio: ["ignore", "ignore", "pipe"],
    timeout: BUILD_DEADLINE,
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-16_384);
  });
  const end = (): void => void child.kill("SIGTERM");
  process.once("exit", end);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (code !== 0) throw diagnose(stderr);
  } finally {
    process.removeListener("exit", end);
  }
}

/** What a failed build means for the person in front of it. */
export function diagnose(stderr: string): ToolError {
  if (/no space left on device/i.test(stderr)) {
    return new ToolError(
      "The disk is full: the build needs about 15 GB for Go's caches; free some, or set SLIPWAY_CACHE, GOCACHE and GOMODCACHE to folders on a larger disk.",
    );
  }
  if (
    /dial tcp|no such host|i\/o timeout|TLS handshake|connection refused|proxyconnect|502 Bad Gateway/i.test(
      stderr,
    )
  ) {
    return new ToolError(
      `The Go module proxy can't be reached: check the network or set GOPROXY, then try again (${lastLine(stderr)}).`,
    );
  }
  if (/signal: killed/.test(stderr)) {
    return new ToolError("The machine ran out of memory while linking: give it 4 GB or more and try again.");
  }
  return new ToolError(
    `go build failed; its last words: ${stderr.trimEnd().split("\n").slice(-12).join("\n")}`,
  );
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}

function minutes(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
