/** A real registry (distribution 2.8, from Debian) with the authentication that registries have, and what pushes to it. */
import { createHash, randomUUID, sign } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { temporaryDirectory } from "../../hack/plane/plane.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { Child, removeAtExit } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { tool } from "../../hack/tools.ts";
import { makeAuthority, makeKey } from "../../pki/issuer.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";

const READY_WITHIN = 30_000;
const TOKEN_SECONDS = 300;
/** bcrypt of the password "dock". */
const HTPASSWD = "harbor:$2b$04$nSrkJsJS9lr3VuBuXwjBtu7sSE5BUYxlmkznZamkBXGz6y48.lOz6\n";
export const CREDENTIALS = "harbor:dock";

export type Authentication = "none" | "basic" | "token";

export interface DockerRegistry {
  url: string;
  /** Tokens that were given out. */
  tokens(): number;
  /** Files under a tag, as `oras push` does it. */
  push(repository: string, tag: string, files: Readonly<Record<string, Buffer>>): Promise<void>;
  stop(): Promise<void>;
}

export async function startRegistry(auth: Authentication): Promise<DockerRegistry> {
  const directory = temporaryDirectory("docker-registry");
  const cleanup = removeAtExit(directory);
  const [port = 0] = await freePorts(1);
  mkdirSync(join(directory, "data"));
  writeFileSync(join(directory, "htpasswd"), HTPASSWD);
  const tokens = auth === "token" ? await startTokens(directory) : undefined;
  const config = {
    version: 0.1,
    log: { level: "warn" },
    storage: { filesystem: { rootdirectory: join(directory, "data") } },
    http: { addr: `127.0.0.1:${port}`, secret: "any" },
    ...(auth === "basic"
      ? { auth: { htpasswd: { realm: "harbor", path: join(directory, "htpasswd") } } }
      : tokens === undefined
        ? {}
        : { auth: { token: tokens.settings } }),
  };
  // JSON is YAML.
  writeFileSync(join(directory, "config.yml"), JSON.stringify(config));
  const child = await Child.start({
    ...{ name: "docker-registry", command: await tool("docker-registry") },
    ...{ logFile: join(directory, "log"), env: { PATH: process.env.PATH } },
    args: ["serve", join(directory, "config.yml")],
  });
  const url = `http://127.0.0.1:${port}`;
  await waitUntil(async () => [200, 401].includes((await fetch(`${url}/v2/`)).status), {
    ...{ what: "the registry answers", deadline: READY_WITHIN, hopeless: () => child.obituary() },
  });
  const authorization = (repository: string): Record<string, string> =>
    auth === "none"
      ? {}
      : {
          authorization: tokens?.bearer(repository) ?? `Basic ${Buffer.from(CREDENTIALS).toString("base64")}`,
        };
  return {
    url,
    tokens: () => tokens?.given() ?? 0,
    push: async (repository, tag, files) => {
      const headers = authorization(repository);
      const base = `${url}/v2/${repository}`;
      const layers: object[] = [];
      for (const [title, data] of [["", Buffer.from("{}")] as const, ...Object.entries(files)]) {
        const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
        const begun = await fetch(`${base}/blobs/uploads/`, { method: "POST", headers });
        const location = new URL(begun.headers.get("location") ?? "", url);
        location.searchParams.set("digest", digest);
        const type = { "content-type": "application/octet-stream" };
        const put = await fetch(location, {
          method: "PUT",
          headers: { ...headers, ...type },
          body: new Uint8Array(data),
        });
        if (put.status !== 201) throw new Error(`push of ${title}: ${put.status} ${await put.text()}`);
        const annotations = { "org.opencontainers.image.title": title };
        layers.push({ mediaType: "application/octet-stream", digest, size: data.length, annotations });
      }
      const [config, ...rest] = layers;
      const type = "application/vnd.oci.image.manifest.v1+json";
      const manifest = { schemaVersion: 2, mediaType: type, config, layers: rest };
      const put = await fetch(`${base}/manifests/${tag}`, {
        ...{ method: "PUT", headers: { ...headers, "content-type": type }, body: JSON.stringify(manifest) },
      });
      if (put.status !== 201) throw new Error(`push of ${tag}: ${put.status} ${await put.text()}`);
    },
    stop: async () => {
      await child.kill();
      tokens?.server.closeAllConnections();
      tokens?.server.close();
      cleanup.forget();
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

interface Tokens {
  settings: object;
  server: Server;
  given(): number;
  bearer(repository: string): string;
}

/** A token service (distribution, "Token Authentication"): gives pull to whoever shows the password. */
async function startTokens(directory: string): Promise<Tokens> {
  const key = makeKey();
  const certificate = await makeAuthority(key, "tokens", { clock: systemClock, random: systemRandom });
  writeFileSync(join(directory, "tokens.pem"), certificate);
  const x5c = [certificate.replaceAll(/-----[A-Z ]+-----|\s/g, "")];
  const [service, issuer] = ["registry", "tokens"];
  let given = 0;
  const make = (repository: string, actions: readonly string[]): string => {
    const now = Math.floor(Date.now() / 1000);
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const access = [{ type: "repository", name: repository, actions }];
    const claims = {
      iss: issuer,
      sub: "harbor",
      aud: service,
      iat: now,
      nbf: now - 60,
      exp: now + TOKEN_SECONDS,
    };
    const head = encode({ typ: "JWT", alg: "ES256", x5c });
    const body = encode({ ...claims, jti: randomUUID(), access });
    const signature = sign("SHA256", Buffer.from(`${head}.${body}`), { key, dsaEncoding: "ieee-p1363" });
    return `${head}.${body}.${signature.toString("base64url")}`;
  };
  const server = createServer((request: IncomingMessage, response) => {
    const asked = new URL(request.url ?? "/", "http://tokens").searchParams;
    const [, repository = ""] = /^repository:([^:]+):/.exec(asked.get("scope") ?? "") ?? [];
    const basic = `Basic ${Buffer.from(CREDENTIALS).toString("base64")}`;
    if (request.headers.authorization !== basic || asked.get("service") !== service) {
      response.writeHead(401).end();
      return;
    }
    given += 1;
    response.end(JSON.stringify({ token: make(repository, ["pull"]), expires_in: TOKEN_SECONDS }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return {
    settings: { realm, service, issuer, rootcertbundle: join(directory, "tokens.pem") },
    server,
    given: () => given,
    bearer: (repository) => `Bearer ${make(repository, ["pull", "push"])}`,
  };
}
