/**
 * Where the API server is and who we are, from a kubeconfig or from the files that a Pod
 * is given. Certificates, tokens and the kubeconfig itself are read again every few
 * seconds, so that their rotation needs no restart.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import { KubeConfig } from "@kubernetes/client-node";
import { type Clock, systemClock } from "../ports/clock.ts";
import { type Logger, silentLogger } from "../ports/log.ts";

/** What one connection and one call need. */
export interface Credentials {
  /** E.g. `https://10.96.0.1:443`, maybe with a path; no slash at the end. */
  server: string;
  /** PEM. */
  ca: string | undefined;
  cert: string | undefined;
  key: string | undefined;
  servername: string | undefined;
  /** False only where the kubeconfig says `insecure-skip-tls-verify`. */
  verify: boolean;
  /** `authorization` and impersonation headers. */
  headers: Record<string, string>;
  /** Changes when anything that a TLS connection was made with changes. */
  fingerprint: string;
}

export interface ApiConfig {
  /** Namespace of the context, or of the Pod. */
  readonly namespace: string | undefined;
  /** The newest usable credentials. Throws an `Error` that says what is wrong when there never were any. */
  credentials(): Promise<Credentials>;
  /** The server refused them (401): the next call reads everything again, and runs exec plugins again. */
  refuse(): void;
}

/** client-go looks at token files once a minute; a kubelet needs up to that to write a new one. We look more often: it is three small reads. */
const REFRESH = 10_000;

/** Nor more often than this, should the server refuse everything. */
const REFUSED_REFRESH = 1000;

export interface KubeConfigOptions {
  clock?: Clock;
  log?: Logger;
  /** Prepended to /var/run/secrets/...: for tests. */
  pathPrefix?: string;
  /** Name of the context to use instead of the current one. */
  context?: string;
}

/** A kubeconfig, or several that are merged as kubectl does: what comes first wins. */
type Paths = string | readonly string[] | undefined;

/**
 * Loads the kubeconfig at `path`, or with `undefined` the configuration of the Pod that we
 * run in. Throws an `Error` that names the file and what to change.
 */
export function loadKubeConfig(path: Paths, options: KubeConfigOptions = {}): ApiConfig {
  const { clock = systemClock, log = silentLogger } = options;
  let config = parse(path, options);
  let text = textOf(path);
  let last: Credentials | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<Credentials> | undefined;

  const read = async (): Promise<Credentials> => {
    try {
      const now = textOf(path);
      // An exec plugin's answer is cached in the KubeConfig: keep that while nothing changed.
      if (now !== text || config.getCurrentUser()?.exec === undefined) {
        config = parse(path, options);
        text = now;
      }
      const fresh = await extract(config);
      if (last !== undefined && last.fingerprint !== fresh.fingerprint) {
        log.info("the API server's CA or our certificate changed", { server: fresh.server });
      }
      last = fresh;
    } catch (error) {
      // Files are replaced one by one; what we have is good until the server says otherwise.
      if (last === undefined) throw error;
      log.error("can't read the API credentials again, keeping the ones in use", error);
    }
    readAt = clock.monotonic();
    return last;
  };

  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace?.trim(),
    credentials() {
      if (last !== undefined && clock.monotonic() - readAt < REFRESH) return Promise.resolve(last);
      reading ??= read().finally(() => {
        reading = undefined;
      });
      return reading;
    },
    refuse() {
      if (clock.monotonic() - readAt < REFUSED_REFRESH) return;
      readAt = Number.NEGATIVE_INFINITY;
      text = "";
    },
  };
}

function textOf(path: Paths): string {
  if (path === undefined) return "";
  return [path]
    .flat()
    .map((file) => readFileSync(file, "utf8"))
    .join("\n");
}

function parse(path: Paths, { pathPrefix, context }: KubeConfigOptions): KubeConfig {
  const config = path === undefined ? new KubeConfig() : merged([path].flat());
  if (path === undefined) config.loadFromCluster(pathPrefix);
  const where = path === undefined ? "the in-cluster configuration" : [path].flat().join(", ");
  if (context !== undefined) {
    const known = config.getContexts().map(({ name }) => name);
    if (!known.includes(context)) {
      throw new Error(`${where}: there is no context ${context}; it has ${known.join(", ") || "none"}`);
    }
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new Error(`${where}: the current context names no cluster; set current-context`);
  if (cluster.proxyUrl !== undefined && cluster.proxyUrl !== null) {
    throw new Error(`${where}: proxy-url is not supported; give a direct server address`);
  }
  if (!URL.canParse(cluster.server) || cluster.server.includes("//undefined")) {
    throw new Error(`${where}: ${cluster.server} is no server address`);
  }
  return config;
}

/** One of several files: of two entries of a name, and of the current contexts, the first counts (kubectl, "Organizing Cluster Access Using kubeconfig Files"). */
function merged(files: readonly string[]): KubeConfig {
  const parts = files.map((file) => {
    const part = new KubeConfig();
    part.loadFromString(readFileSync(file, "utf8"));
    part.makePathsAbsolute(dirname(file));
    return part;
  });
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: firstOfEach(parts.flatMap((part) => part.getClusters())),
    users: firstOfEach(parts.flatMap((part) => part.getUsers())),
    contexts: firstOfEach(parts.flatMap((part) => part.getContexts())),
    currentContext: parts.map((part) => part.getCurrentContext()).find((name) => name) ?? "",
  });
  return config;
}

function firstOfEach<T extends { name: string }>(entries: readonly T[]): T[] {
  return entries.filter((entry, index) => entries.findIndex(({ name }) => name === entry.name) === index);
}

/** The part of https.RequestOptions that KubeConfig fills in. */
type Filled = Pick<
  RequestOptions,
  "ca" | "cert" | "key" | "servername" | "rejectUnauthorized" | "auth" | "headers"
>;

async function extract(config: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const filled: Filled = options;
  const ca = pem(filled.ca);
  const cert = pem(filled.cert);
  const key = pem(filled.key);
  const server = config.getCurrentCluster()?.server ?? "";
  const verify = filled.rejectUnauthorized !== false;
  const { servername } = filled;
  // Throws for a certificate whose key is not written yet.
  createSecureContext({
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(filled.headers ?? {})) {
    headers[name.toLowerCase()] = String(value).trim();
  }
  if (filled.auth) headers["authorization"] = `Basic ${Buffer.from(filled.auth).toString("base64")}`;
  const fingerprint = createHash("sha256")
    .update(JSON.stringify([server, ca, cert, key, servername, verify]))
    .digest("hex");
  return { server, ca, cert, key, servername, verify, headers, fingerprint };
}

function pem(value: RequestOptions["ca"] | RequestOptions["key"]): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  throw new Error("The kubeconfig gives a certificate in a form other than PEM");
}
