import { type webcrypto, X509Certificate } from "node:crypto";
import "reflect-metadata";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { beforeAll, expect, test } from "vitest";
import { CertificateAuthority, RefusedRequest, SERVER_NAME } from "./certificate-authority.ts";
import { FakeClock, fakeRandom } from "./fake-clock.ts";

const MACHINE = "0123456789abcdef0123456789abcdef";
const HOUR = 3_600_000;
const random = fakeRandom();

async function newAuthority(
  clock: FakeClock,
): Promise<{ authority: CertificateAuthority; bundle: string; key: string }> {
  const key = CertificateAuthority.makeKey();
  const bundle = await CertificateAuthority.makeCertificate(key, clock, random);
  return { authority: new CertificateAuthority({ bundle, key, clock, random }), bundle, key };
}

async function request(
  algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams,
): Promise<Uint8Array> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const signingAlgorithm = { ...algorithm, hash: "SHA-256" };
  const made = await Pkcs10CertificateRequestGenerator.create({ name: "CN=root", keys, signingAlgorithm });
  return new Uint8Array(made.rawData);
}

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const rsa = (modulusLength: number) => ({
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
});

let clock: FakeClock;
let authority: CertificateAuthority;
let bundle: string;
let key: string;
beforeAll(async () => {
  clock = new FakeClock();
  ({ authority, bundle, key } = await newAuthority(clock));
});

async function machineCertificate(from: CertificateAuthority, machineId = MACHINE): Promise<X509Certificate> {
  return new X509Certificate(await from.issueMachine(machineId, await from.readRequest(await request(P256))));
}

test.each([
  ["P-256", P256],
  ["P-384", { name: "ECDSA", namedCurve: "P-384" }],
  ["Ed25519", { name: "Ed25519", namedCurve: "" }],
  ["RSA 2048", rsa(2048)],
])(
  "a request with a key on %s gets a certificate for the machine id, not for its subject",
  async (_, algorithm) => {
    const publicKey = await authority.readRequest(await request(algorithm));
    const certificate = new X509Certificate(await authority.issueMachine(MACHINE, publicKey));
    expect(certificate.subject).toBe(`O=slipway:machines\nCN=${MACHINE}`);
    expect(certificate.publicKey.equals(publicKey)).toBe(true);
    expect(authority.machineOf(certificate.raw)?.machineId).toBe(MACHINE);
  },
);

test.each([
  ["a weak key", () => request(rsa(1024))],
  ["an unusual curve", () => request({ name: "ECDSA", namedCurve: "P-521" })],
  ["nothing", async () => new Uint8Array()],
  ["9 KiB", async () => new Uint8Array(9 * 1024)],
])("%s is refused", async (_, make) => {
  await expect(authority.readRequest(await make())).rejects.toBeInstanceOf(RefusedRequest);
});

test("a machine's certificate outlives a season in a cupboard, and is no authority", async () => {
  const certificate = await machineCertificate(authority);
  const life = certificate.validToDate.getTime() - clock.now();
  expect(life).toBeGreaterThan(89 * 24 * HOUR);
  expect(life).toBeLessThanOrEqual(90 * 24 * HOUR);
  expect(certificate.ca).toBe(false);
});

test("it counts only while it is valid", async () => {
  const moving = new FakeClock();
  const { authority: young } = await newAuthority(moving);
  const certificate = await machineCertificate(young);
  await moving.advance(90 * 24 * HOUR);
  expect(young.machineOf(certificate.raw)?.machineId).toBe(MACHINE);
  await moving.advance(1001);
  expect(young.machineOf(certificate.raw)).toBeUndefined();
});

test("it says when it was issued, and that is never before its machine joined", async () => {
  const key = await authority.readRequest(await request(P256));
  const issued = async (joinedAt?: number) => {
    const certificate = new X509Certificate(await authority.issueMachine(MACHINE, key, joinedAt));
    return authority.machineOf(certificate.raw)?.issuedAt;
  };
  const now = clock.now();
  expect(await issued()).toBe(now);
  expect(await issued(now - HOUR)).toBe(now);
  expect(await issued(now + 60_000)).toBe(now + 60_000);
});

test("neither another authority's, nor a server's, nor the authority's own names a machine", async () => {
  const stranger = (await newAuthority(clock)).authority;
  expect(authority.machineOf((await machineCertificate(stranger)).raw)).toBeUndefined();
  const server = await authority.issueServer([MACHINE]);
  expect(authority.machineOf(new X509Certificate(server.certificate).raw)).toBeUndefined();
  expect(authority.machineOf(new X509Certificate(bundle).raw)).toBeUndefined();
  expect(authority.machineOf(Buffer.from("garbage"))).toBeUndefined();
  const odd = await machineCertificate(authority, `${MACHINE}/CN=${"f".repeat(32)}`);
  expect(authority.machineOf(odd.raw)).toBeUndefined();
});

test("after a change of authority the former's machines stay known while it is in the bundle", async () => {
  const next = await newAuthority(clock);
  const both = new CertificateAuthority({ bundle: bundle + next.bundle, key: next.key, clock, random });
  expect(both.machineOf((await machineCertificate(authority)).raw)?.machineId).toBe(MACHINE);
  expect(both.machineOf((await machineCertificate(next.authority)).raw)?.machineId).toBe(MACHINE);
  expect(next.authority.machineOf((await machineCertificate(authority)).raw)).toBeUndefined();
  expect(both.bundle.startsWith(next.bundle.trimEnd())).toBe(true);
});

test("a key without its certificate is an error that names the files", async () => {
  const other = CertificateAuthority.makeKey();
  expect(() => new CertificateAuthority({ bundle, key: other, clock, random })).toThrow(
    "ca.key is the key of no certificate in ca.crt",
  );
  expect(key).toContain("PRIVATE KEY");
});

test("a server's certificate has every name that it was given, and one that never changes", async () => {
  const { certificate } = await authority.issueServer(["gateway.example", "10.0.0.1", "::1"]);
  const names = new X509Certificate(certificate).subjectAltName ?? "";
  for (const name of [
    `DNS:${SERVER_NAME}`,
    "DNS:gateway.example",
    "IP Address:10.0.0.1",
    "IP Address:0:0:0:0:0:0:0:1",
  ]) {
    expect(names).toContain(name);
  }
});
