/** Certificates that machines show in place of a secret, over real TLS. */
import "reflect-metadata";
import { createPublicKey } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import {
  BasicConstraintsExtension,
  PemConverter,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
  X509CrlReason,
} from "@peculiar/x509";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { openGate } from "../coordination/fixtures.ts";
import { Issuer, type KeyPair, makeAuthority, makeKey } from "../pki/issuer.ts";
import type { MachineCertificate } from "../pki/machine-credentials.ts";
import { systemClock } from "../ports/clock.ts";
import { jsonLogger, silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { offered } from "../test/omaha/offered.ts";
import { FLATCAR, requestOf } from "../test/omaha/requests.ts";
import { LedRoom } from "../test/slots/led-room.ts";
import { ca, directory, start, WAIT } from "./agents/fake-gateways.ts";
import { openCertificates } from "./certificate-files.ts";
import { parseClientAuthorities } from "./edge/client-authorities.ts";
import { plain, startEdge } from "./edge/server.ts";
import { followFile } from "./followed-files.ts";

const ports = { clock: systemClock, random: systemRandom };
const loopback = { host: "127.0.0.1", port: 0 };
const HOUR = 3_600_000;
const ALGORITHM = { name: "ECDSA", hash: "SHA-256" };

/** An authority of the operator's. */
class Authority {
  readonly key = makeKey();
  #issuer: Issuer | undefined;

  async issuer(): Promise<Issuer> {
    this.#issuer ??= new Issuer({
      ...{ bundle: await makeAuthority(this.key, "machines", ports), key: this.key, ...ports },
    });
    return this.#issuer;
  }

  async issue(
    O: string[],
    CN: string[],
    { at = Date.now() - 1000, uses = ["client"] as ("client" | "server")[] } = {},
  ) {
    return (await this.issuer()).issueWithKey({ subject: [{ O, CN }], at, life: HOUR, uses });
  }

  /** Its certificate, signed by another authority; or by itself, for others below it. */
  async under(root: Authority): Promise<string> {
    const own = root === this ? "CN=root" : "CN=machines in part";
    const certificate = await X509CertificateGenerator.create({
      ...{
        issuer: root === this ? own : new X509Certificate((await root.issuer()).certificate).subject,
        subject: own,
        serialNumber: "02",
      },
      ...{ notBefore: new Date(Date.now() - HOUR), notAfter: new Date(Date.now() + HOUR) },
      ...{
        signingAlgorithm: ALGORITHM,
        publicKey: await this.#web("public"),
        signingKey: await root.#web("private"),
      },
      extensions: [new BasicConstraintsExtension(true, undefined, true)],
    });
    const pem = `${certificate.toString("pem")}\n`;
    this.#issuer = new Issuer({ bundle: pem, key: this.key, ...ports });
    return pem;
  }

  async #web(kind: "public" | "private"): Promise<CryptoKey> {
    const [der = new ArrayBuffer(0)] = PemConverter.decode(this.key);
    const curve = { name: "ECDSA", namedCurve: "P-256" };
    if (kind === "private") return await crypto.subtle.importKey("pkcs8", der, curve, false, ["sign"]);
    const spki = createPublicKey(this.key).export({ type: "spki", format: "der" });
    return await crypto.subtle.importKey("spki", new Uint8Array(spki), curve, true, ["verify"]);
  }

  /** A list that names these, PEM. */
  async revoke(...pairs: KeyPair[]): Promise<string> {
    const { certificate } = await this.issuer();
    const crl = await X509CrlGenerator.create({
      ...{ issuer: new X509Certificate(certificate).subject, signingKey: await this.#web("private") },
      signingAlgorithm: ALGORITHM,
      thisUpdate: new Date(Date.now() - HOUR),
      nextUpdate: new Date(Date.now() + HOUR),
      entries: pairs.map(({ certificate: text }) => ({
        serialNumber: new X509Certificate(text).serialNumber,
        revocationDate: new Date(Date.now() - HOUR),
        reason: X509CrlReason.keyCompromise,
      })),
    });
    // Its own word for it is none of RFC 7468.
    return crl.toString("pem").replaceAll(" CRL-", " X509 CRL-");
  }
}

interface Call {
  port: number;
  path: string;
  trusted: string | Buffer;
  shown?: KeyPair | undefined;
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Without one, on a connection of its own. */
  agent?: Agent;
}

function call({ port, path, trusted, shown, method = "GET", headers = {}, body = "", agent }: Call) {
  return new Promise<{ status: number; body: string; reused: boolean }>((resolve, reject) => {
    const certificate = shown === undefined ? {} : { cert: shown.certificate, key: shown.key };
    const sent = request({
      ...{
        host: "localhost",
        family: 4,
        port,
        path,
        method,
        headers,
        ca: trusted,
        agent: agent ?? false,
        ...certificate,
      },
      timeout: 10_000,
    });
    sent.once("error", reject).once("response", (response) => {
      let said = "";
      response.setEncoding("utf8").on("data", (text: string) => (said += text));
      const reused = (response.socket as TLSSocket).isSessionReused();
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body: said, reused }));
    });
    sent.end(body);
  });
}

let authority: Authority;
let file: string;
beforeEach(async () => {
  authority = new Authority();
  file = join(directory, "machines.crt");
  await writeFile(file, (await authority.issuer()).bundle);
});

describe("the listener", () => {
  it("takes what its authorities signed, and serves all others as strangers", async () => {
    const certificates = await openCertificates({
      ...{ directory, hosts: ["localhost"], log: silentLogger, ...ports },
    });
    const logged: string[] = [];
    const log = jsonLogger(systemClock, (line) => logged.push(line));
    const what = { path: file, what: "authorities", parse: parseClientAuthorities };
    const clients = await followFile({ ...what, clock: systemClock, log });
    const seen: (MachineCertificate | undefined)[] = [];
    const answer = async ({ certificate }: { certificate?: MachineCertificate | undefined }) => {
      seen.push(certificate);
      return plain(200, "");
    };
    const edge = await startEdge({
      ...{ listen: loopback, certificates, clients, clock: systemClock, log: silentLogger },
      ...{ routes: [{ prefix: "/a", maxBody: 0, answer }], meter: { answered: () => {} } },
    });
    const trusted = certificates.current.authority.bundle;
    const show = async (shown?: KeyPair, agent?: Agent): Promise<MachineCertificate | undefined> => {
      const answer = await call({
        ...{ port: edge.port, path: "/a", trusted, shown },
        ...(agent === undefined ? {} : { agent }),
      });
      expect(answer).toMatchObject({ status: 200, reused: false });
      return seen.at(-1);
    };
    const [kept, resuming] = [new Agent({ keepAlive: true }), new Agent({ maxCachedSessions: 10 })];
    try {
      const good = await authority.issue(["workers", "registry/fleet"], ["rack-7"]);
      const named = { groups: ["workers", "registry/fleet"], machine: "rack-7" };
      expect(await show(good)).toEqual(named);
      expect(await show()).toBeUndefined();
      expect(await show(await new Authority().issue(["workers"], ["rack-7"]))).toBeUndefined();
      expect(
        await show(await authority.issue(["workers"], ["rack-7"], { at: Date.now() - 2 * HOUR })),
      ).toBeUndefined();
      expect(
        await show(await authority.issue(["workers"], ["rack-7"], { uses: ["server"] })),
      ).toBeUndefined();
      // The gateways' own authority signs agents: it is none for this.
      const [bundle, key] = await Promise.all(
        ["ca.crt", "ca.key"].map((name) => readFile(join(directory, name), "utf8")),
      );
      const agents = new Issuer({ bundle: bundle ?? "", key: key ?? "", ...ports });
      const purpose = { subject: [{ O: ["workers"], CN: ["rack-7"] }], life: HOUR };
      expect(await show(await agents.issueWithKey({ ...purpose, uses: ["client"] }))).toBeUndefined();

      // Of a part of a chain, whose root is named as well.
      const [root, part] = [new Authority(), new Authority()];
      const wholeRoot = await root.under(root);
      const partial = await part.under(root);
      const whole = (await authority.issuer()).bundle;
      await writeFile(file, `${whole}${partial}${wholeRoot}`);
      await clients.refresh();
      const chained = await part.issue(["workers"], ["rack-9"]);
      expect(await show(chained)).toEqual({ groups: ["workers"], machine: "rack-9" });
      await writeFile(file, whole);
      await clients.refresh();
      expect(await show(chained)).toBeUndefined();

      // Who resumes a session would not be looked at again.
      for (const shown of [undefined, good, undefined, good])
        expect(await show(shown, resuming)).toEqual(shown && named);

      const other = await authority.issue(["workers"], ["rack-8"]);
      expect([await show(good, kept), await show(good, kept)]).toEqual([named, named]);
      await writeFile(file, `${(await authority.issuer()).bundle}${await authority.revoke(good)}`);
      await clients.refresh();
      expect(await show(good)).toBeUndefined();
      expect(await show(good, kept)).toBeUndefined();
      expect(await show(other)).toEqual({ groups: ["workers"], machine: "rack-8" });

      // Neither a new certificate of the gateway's nor a file that is none changes anything of it.
      const next = await agents.issueWithKey({ ...purpose, uses: ["server"], hosts: ["localhost"] });
      await writeFile(join(directory, "tls.crt"), next.certificate);
      await writeFile(join(directory, "tls.key"), next.key);
      await certificates.refresh();
      expect(certificates.current.server).toEqual(next);
      await writeFile(file, "nothing");
      await clients.refresh();
      expect(logged.join("")).toContain("no certificate is in it");
      expect(await show(good)).toBeUndefined();
      expect(await show(other)).toEqual({ groups: ["workers"], machine: "rack-8" });
    } finally {
      kept.destroy();
      resuming.destroy();
      clients.stop();
      certificates.stop();
      await edge.stop(1000);
    }
  });
});

describe("a gateway", () => {
  it("has them count as the secret of what they name, in every protocol", async () => {
    const led = await LedRoom.create();
    const { port: etcd, room } = led;
    const validUntil = Date.now() + HOUR;
    const machines = { budgets: ["group/workers"], needs: 60_000, open: false };
    await room.writeGates(led.leader, {
      groups: [openGate("workers", validUntil, { machines })],
      budgets: [{ budget: "group/workers", max: 1, unavailable: [], validUntil }],
      offers: [
        {
          ...{ group: "workers", tracks: ["stable"], product: `{${FLATCAR}}`, validUntil },
          ...{ share: 1, threshold: 100, ways: { amd64: [offered("9000.0.0")] } },
        },
      ],
    });
    const nobody = () => Promise.reject(new Error("Kubernetes is not asked"));
    const registry = { etcd, client: { get: nobody, apply: nobody }, spaces: ["other", "fleet"] };
    const { edgePort: port = 0 } = await start({
      coordination: room,
      edge: { etcd, listen: loopback, tls: true, keys: [], clientAuthorities: file, registry },
    });
    const ask = async (path: string, shown: KeyPair | undefined, body = "", headers = {}) =>
      await call({
        ...{ port, path, trusted: ca, shown, body, method: body === "" ? "GET" : "POST" },
        headers: { "fleet-lock-protocol": "true", ...headers },
      });
    const rack = await authority.issue(["workers"], ["rack-7"]);
    const fleet = await authority.issue(["registry/fleet"], ["locksmith"]);

    const keys = "/v2/keys/";
    expect((await ask(keys, fleet)).status).toBe(200);
    // One for two spaces says which, as the user.
    const both = await authority.issue(["registry/fleet", "registry/other"], ["locksmith"]);
    expect((await ask(keys, both)).status).toBe(401);
    const user = (name: string) => ({ authorization: `Basic ${Buffer.from(`${name}:`).toString("base64")}` });
    expect((await ask(keys, both, "", user("other"))).status).toBe(200);
    expect((await ask(keys, fleet, "", user("other"))).status).toBe(401);
    expect((await ask(keys, rack)).status).toBe(401);
    expect((await ask(keys, undefined)).status).toBe(401);

    const lock = async (id: string, shown: KeyPair | undefined) => {
      const body = JSON.stringify({ client_params: { id, group: "workers" } });
      const { status, body: said } = await ask("/fleetlock/v1/steady-state", shown, body);
      return [status, said === "" ? undefined : (JSON.parse(said) as { value: string }).value];
    };
    expect(await lock("rack-7", rack)).toEqual([200, undefined]);
    expect(await lock("rack-8", rack)).toEqual([
      403,
      "The certificate names another group than workers or another machine than rack-8.",
    ]);
    expect((await lock("rack-7", fleet))[0]).toBe(403);
    expect((await lock("rack-7", undefined))[0]).toBe(401);

    const update = async (machineid: string, shown: KeyPair | undefined) =>
      await ask("/v1/update/", shown, requestOf({ machineid }));
    // Before the gateway has read what the manager offers, it asks nobody for anything.
    await vi.waitUntil(async () => (await update("rack-7", undefined)).status === 403, WAIT);
    expect((await update("rack-8", rack)).status).toBe(403);
    const answer = await update("rack-7", rack);
    expect([answer.status, answer.body]).toEqual([200, expect.stringContaining("9000.0.0")]);
  });

  it.each([
    ["nothing that is an authority", async () => "", /no certificate is in it/],
    [
      "the certificate of a machine",
      async () => (await authority.issue(["workers"], ["rack-7"])).certificate,
      /CN=rack-7.* is not of an authority/,
    ],
    [
      "a part of a chain without its root",
      async () => await new Authority().under(new Authority()),
      /the root that signed CN=machines in part is not in it/,
    ],
    [
      "a list under another name",
      async () => `${(await authority.issuer()).bundle}-----BEGIN CRL-----\nAAAA\n-----END CRL-----`,
      /CRL is in it; CERTIFICATE and X509 CRL are what can be/,
    ],
    [
      "a damaged one",
      async () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
      /can't be read/,
    ],
    [
      "a damaged list",
      async () =>
        `${(await authority.issuer()).bundle}-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----`,
      /a list of revoked certificates in it can't be read/,
    ],
  ])("does not start with %s in the file", async (_, text, message) => {
    await writeFile(file, await text());
    const { port: etcd } = await LedRoom.create();
    const edge = { etcd, listen: loopback, tls: true, keys: [], clientAuthorities: file };
    await expect(start({ edge })).rejects.toThrow(message);
  });
});
