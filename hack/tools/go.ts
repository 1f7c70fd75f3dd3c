/** Builds programs from the Go module proxy. */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, renameSync, rmSync } from "node:fs";
import { totalmem } from "node:os";
import { basename, join } from "node:path";
import { onPath } from "../plane/process.ts";
import { type Environment, type GoModule, type Pins, TEMPORARY, ToolError } from "./cache.ts";

export type GoTool = keyof typeof GO_TOOLS;

interface GoProgram {
  /** Where it is pinned. */
  module: GoModule;
  /** The Go module whose version is the program's. */
  of: string;
  package: string;
  /** Seconds that its build takes alone, from nothing, on two cores. */
  seconds: number;
  /** What makes it print its version. */
  ask: readonly string[];
}

const kubernetes = (name: string, seconds: number, ask = ["--version"]): GoProgram => ({
  module: ".",
  of: "k8s.io/kubernetes",
  package: `k8s.io/kubernetes/cmd/${name}`,
  seconds,
  ask,
});
const etcd = (name: string, seconds: number, ask: readonly string[]): GoProgram => {
  const of = `go.etcd.io/etcd/${name}/v3`;
  return { module: ".", of, package: of, seconds, ask };
};
const containerd = (name: string, seconds: number): GoProgram => ({
  module: "containerd",
  of: "github.com/containerd/containerd/v2",
  package: `github.com/containerd/containerd/v2/cmd/${name}`,
  seconds,
  ask: ["-v"],
});
const prometheus = (name: string, seconds: number): GoProgram => ({
  module: "prometheus",
  of: "github.com/prometheus/prometheus",
  package: `github.com/prometheus/prometheus/cmd/${name}`,
  seconds,
  ask: ["--version"],
});

/** Programs that are built from Go modules. */
export const GO_TOOLS = {
  etcd: etcd("server", 48, ["--version"]),
  etcdctl: etcd("etcdctl", 3, ["version"]),
  etcdutl: etcd("etcdutl", 3, ["version"]),
  "kube-apiserver": kubernetes("kube-apiserver", 184),
  "kube-controller-manager": kubernetes("kube-controller-manager", 66),
  "kube-scheduler": kubernetes("kube-scheduler", 7),
  kubectl: kubernetes("kubectl", 15, ["version", "--client"]),
  kubelet: kubernetes("kubelet", 17),
  "kube-proxy": kubernetes("kube-proxy", 7),
  kwok: {
    module: ".",
    of: "sigs.k8s.io/kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    seconds: 45,
    ask: ["--version"],
  },
  containerd: containerd("containerd", 39),
  "containerd-shim-runc-v2": containerd("containerd-shim-runc-v2", 1),
  ctr: containerd("ctr", 3),
  coredns: {
    module: "coredns",
    of: "github.com/coredns/coredns",
    package: "github.com/coredns/coredns",
    seconds: 90,
    ask: ["-version"],
  },
  helm: {
    module: "helm",
    of: "helm.sh/helm/v4",
    package: "helm.sh/helm/v4/cmd/helm",
    seconds: 60,
    ask: ["version"],
  },
  "kube-apiserver-1.36": { ...kubernetes("kube-apiserver", 184), module: "kubernetes-1.36" },
  prometheus: prometheus("prometheus", 235),
  promtool: prometheus("promtool", 150),
} satisfies Record<string, GoProgram>;

/** go.mod's `go` line; an older Go of 1.21 or later fetches this one by itself. */
const OLDEST_GO = [1, 26] as const;
const GIBIBYTE = 2 ** 30;
/** Linking two servers at once takes about 5 GiB. */
const MEMORY_FOR_TWO_LINKS = 7 * GIBIBYTE;
const PROGRESS_EVERY = 30_000;
const BUILD_DEADLINE = 40 * 60_000;

/** Build tags: Prometheus finds targets in two dozen clouds, whose libraries are most of it; we ask Kubernetes alone. */
const TAGS: Partial<Record<GoModule, string>> = { prometheus: "remove_all_sd,enable_kubernetes_sd" };

/** The way a module is built, as text: what is built otherwise is another file. */
export function recipeOf(module: GoModule): string {
  return `${linkerFlags(module, () => "1.2.3")}${TAGS[module] ?? ""}`;
}

/** Linker flags: what calls itself v0.0.0-master otherwise. `version` is that of `Pins`. */
function linkerFlags(module: GoModule, version: (module: string) => string): string {
  const kubernetes = (): Record<string, string> => {
    const release = version("k8s.io/kubernetes");
    const [gitMajor = "", gitMinor = ""] = release.split(".");
    const stamp = { gitVersion: `v${release}`, gitMajor, gitMinor };
    return prefixed("k8s.io/component-base/version", stamp);
  };
  const stamps: Record<GoModule, () => Record<string, string>> = {
    ".": kubernetes,
    "kubernetes-1.36": kubernetes,
    containerd: () => ({
      "github.com/containerd/containerd/v2/version.Version": version("github.com/containerd/containerd/v2"),
    }),
    coredns: () => ({}),
    helm: () => ({ "helm.sh/helm/v4/internal/version.version": `v${version("helm.sh/helm/v4")}` }),
    prometheus: () => ({
      "github.com/prometheus/common/version.Version": version("github.com/prometheus/prometheus"),
    }),
  };
  return ["-s -w", ...Object.entries(stamps[module]()).map(([name, value]) => `-X ${name}=${value}`)].join(
    " ",
  );
}

function prefixed(path: string, values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${path}.${name}`, value]));
}

/**
 * Builds `names`, all of one module, with one call, which shares their common packages, and
 * renames each into `directory` when it is complete.
 */
export async function buildGoTools(
  names: readonly GoTool[],
  module: GoModule,
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
    const tags = TAGS[module] === undefined ? [] : ["-tags", TAGS[module]];
    const serial = totalmem() < MEMORY_FOR_TWO_LINKS ? ["-p", "1"] : [];
    await run(
      go,
      [
        "build",
        "-buildvcs=false",
        ...serial,
        ...tags,
        "-ldflags",
        linkerFlags(module, pins.version),
        "-o",
        `${temporary}/`,
        ...packages,
      ],
      goEnv,
      join(import.meta.dirname, module),
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
  cwd: string,
): Promise<void> {
  const child = spawn(go, args, {
    cwd,
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
