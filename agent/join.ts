/**
 * A machine outside the cluster trades a join token for a client certificate, once, and
 * renews it for a new key when a third of its life has passed. Certificate and key
 * lie in one file, so that they always match.
 */
import { X509Certificate } from "node:crypto";
import { chmod, mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Client } from "@grpc/grpc-js";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { JoinRequest, JoinResponse, RenewRequest, RenewResponse } from "../proto/gen/agent_pb.ts";
import { agentGatewayService, type Method } from "../proto/service.ts";
import { type Authentication, openClient } from "./grpc-transport.ts";

const CALL_WITHIN = 30_000;
/** Between two tries to renew, ms. */
const RENEW_AGAIN = 600_000;
/** Between two looks at the certificate while a session lasts, ms. */
const LOOK = 3_600_000;
/** In the identity directory: certificate and key of a machine outside the cluster. */
export const IDENTITY_FILE = "identity.pem";

export interface JoinOptions {
  servers: readonly string[];
  caFile: string;
  joinTokenFile: string;
  directory: string;
  machineId: string;
  clock: Clock;
  log: Logger;
}

/**
 * For `grpcTransport`: joins at the first call, renews when it is time. Rejects if there is no
 * identity and none can be had. Calls at once share one answer.
 */
export function machineIdentity(options: JoinOptions): () => Promise<Authentication> {
  const authenticate = joinOrRenew(options);
  let underWay: Promise<Authentication> | undefined;
  return () => {
    underWay ??= authenticate().finally(() => {
      underWay = undefined;
    });
    return underWay;
  };
}

/** Looks at the identity now and then, however long a session lasts; until the answer is called. */
export function keepIdentity(clock: Clock, authenticate: () => Promise<unknown>): Cancel {
  let cancel = clock.after(LOOK, look);
  function look(): void {
    // Who has none hears of it when it connects.
    authenticate().catch(() => undefined);
    cancel = clock.after(LOOK, look);
  }
  return () => cancel();
}

function joinOrRenew(options: JoinOptions): () => Promise<Authentication> {
  const file = join(options.directory, IDENTITY_FILE);
  let notBefore = -Infinity;
  return async () => {
    const ca = await readFile(options.caFile);
    const identity = parseIdentity(await readFile(file, "utf8").catch(() => ""));
    if (identity === undefined) {
      options.log.info("joining", { machineId: options.machineId });
      return { ca, identity: await obtain(options, { ca }, file) };
    }
    const now = options.clock.now();
    if (!dueForRenewal(identity.certificate, now)) return { ca, identity };
    if (options.clock.monotonic() < notBefore) return { ca, identity };
    notBefore = options.clock.monotonic() + RENEW_AGAIN;
    // A certificate that ended renews nothing: a machine that was off for days needs a new join token.
    const ended = hasEnded(identity.certificate, now);
    try {
      options.log.info(
        ended ? "the client certificate ended, joining anew" : "renewing the client certificate",
      );
      return { ca, identity: await obtain(options, ended ? { ca } : { ca, identity }, file) };
    } catch (error) {
      options.log.error(ended ? "could not join anew" : "could not renew the client certificate", error);
      return { ca, identity };
    }
  };
}

type Identity = NonNullable<Authentication["identity"]>;

/** `nowMs`: wall clock. The certificate's own dates decide (RFC 5280, 4.1.2.5). */
export function dueForRenewal(certificate: Buffer, nowMs: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  const from = validFromDate.getTime();
  return nowMs >= from + (validToDate.getTime() - from) / 3;
}

/** `nowMs`: wall clock. */
function hasEnded(certificate: Buffer, nowMs: number): boolean {
  return nowMs > new X509Certificate(certificate).validToDate.getTime();
}

/** Undefined unless `text` holds a key and a certificate that belong together in PEM. */
export function parseIdentity(text: string): Identity | undefined {
  const key = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/.exec(text)?.[0];
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g);
  if (key === undefined || certificates === null) return undefined;
  return { key: Buffer.from(key), certificate: Buffer.from(certificates.join("")) };
}

async function obtain(options: JoinOptions, authentication: Authentication, file: string): Promise<Identity> {
  const request = await certificateRequest(options.machineId);
  const { join: joinMethod, renew } = agentGatewayService;
  let certificate: string;
  if (authentication.identity === undefined) {
    const joinToken = (await readFile(options.joinTokenFile, "utf8")).trim();
    const message: JoinRequest = {
      $typeName: "slipway.agent.v1.JoinRequest",
      joinToken,
      certificateRequest: request.der,
      machineId: options.machineId,
    };
    const answer = await callAny<JoinRequest, JoinResponse>(options, authentication, joinMethod, message);
    certificate = answer.certificate;
  } else {
    const message: RenewRequest = {
      $typeName: "slipway.agent.v1.RenewRequest",
      certificateRequest: request.der,
    };
    const answer = await callAny<RenewRequest, RenewResponse>(options, authentication, renew, message);
    certificate = answer.certificate;
  }
  const identity = parseIdentity(`${request.key}\n${certificate}`);
  if (identity === undefined) throw new Error("the gateway answered without a certificate in PEM");
  await writePrivate(file, `${identity.key.toString()}${identity.certificate.toString()}`);
  return identity;
}

/** A fresh ECDSA P-256 key and its PKCS #10 request (RFC 2986). */
async function certificateRequest(name: string): Promise<{ der: Uint8Array; key: string }> {
  await import("reflect-metadata");
  const { Pkcs10CertificateRequestGenerator, PemConverter } = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { der: new Uint8Array(request.rawData), key: PemConverter.encode(pkcs8, "PRIVATE KEY") };
}

/** Asks one server after the other; rejects with the last one's error. */
async function callAny<I, O>(
  { servers, clock }: JoinOptions,
  authentication: Authentication,
  method: Method<I, O>,
  message: I,
): Promise<O> {
  let last: unknown = new Error("no gateway is known");
  for (const server of servers) {
    const client = openClient(server, authentication);
    try {
      return await call(client, method, message, clock.now() + CALL_WITHIN);
    } catch (error) {
      last = error;
    } finally {
      client.close();
    }
  }
  throw last;
}

function call<I, O>(client: Client, method: Method<I, O>, message: I, deadline: number): Promise<O> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      message,
      { deadline },
      (error, answer) => {
        if (error) reject(error);
        else if (answer === undefined) reject(new Error("the gateway gave no answer"));
        else resolve(answer);
      },
    );
  });
}

async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(`${path}.tmp`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(`${path}.tmp`, 0o600);
  await rename(`${path}.tmp`, path);
}
