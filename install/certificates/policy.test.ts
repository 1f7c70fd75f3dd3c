import { X509Certificate } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { FakeClock, fakeRandom } from "../../gateway/fake-clock.ts";
import { Issuer, type KeyPair, makeAuthority, makeKey } from "../../pki/issuer.ts";
import { authorityWarning, type Installation, type Wanted, wantedCertificates, whyIssue } from "./policy.ts";

const DAY = 24 * 3_600_000;
const installation: Installation = {
  namespace: "slipway-system",
  fullname: "slipway",
  gatewayNames: ["updates.example.org", "192.0.2.7"],
  etcdMembers: 3,
  clusterDomain: "cluster.local",
};
const clock = new FakeClock();
const random = fakeRandom();

async function newIssuer(): Promise<Issuer> {
  const key = makeKey();
  return new Issuer({ bundle: await makeAuthority(key, "test", { clock, random }), key, clock, random });
}

let issuer: Issuer;
let pair: KeyPair;
const wanted: Wanted = {
  secret: "slipway-gateway-tls",
  authority: "gateway",
  commonName: "slipway-gateway",
  uses: ["server"],
  hosts: ["slipway-gateway", "*.example.org", "192.0.2.7", "2001:db8::1"],
};
beforeAll(async () => {
  issuer = await newIssuer();
  pair = await issue(issuer);
});

function issue(by: Issuer, hosts = wanted.hosts, life = 90 * DAY): Promise<KeyPair> {
  return by.issueWithKey({ subject: [{ CN: [wanted.commonName] }], life, uses: ["server"], hosts });
}

function judge(found: Partial<KeyPair & { ca: string }>, now = clock.now()): string | undefined {
  const { certificate, key, ca = issuer.bundle } = found;
  return whyIssue({ certificate, key, ca }, wanted, issuer, now);
}

test("a certificate that fits stays until a third of its life is left", () => {
  expect(judge(pair)).toBeUndefined();
  expect(judge(pair, clock.now() + 59 * DAY)).toBeUndefined();
  expect(judge(pair, clock.now() + 61 * DAY)).toMatch(/^ends at /);
  expect(judge(pair, clock.now() + 91 * DAY)).toMatch(/^ended at /);
});

test.each<[string, () => Promise<Partial<KeyPair & { ca: string }>>, RegExp]>([
  ["nothing", async () => ({}), /is not there/],
  ["no key", async () => ({ certificate: pair.certificate }), /is not there/],
  ["another key", async () => ({ ...pair, key: makeKey() }), /does not fit its key/],
  ["no PEM", async () => ({ ...pair, certificate: "certificate" }), /can't be read/],
  ["another authority", async () => issue(await newIssuer()), /another authority/],
  ["another ca.crt", async () => ({ ...pair, ca: "" }), /another ca\.crt/],
  ["a name too few", async () => issue(issuer, wanted.hosts.slice(0, 3)), /lacks 2001:db8::1/],
  [
    "another wildcard",
    async () => issue(issuer, [...wanted.hosts.slice(2), "slipway-gateway"]),
    /\*\.example/,
  ],
])("%s is replaced", async (_, found, why) => {
  expect(judge(await found())).toMatch(why);
});

test("another subject is replaced", async () => {
  const other = await issuer.issueWithKey({
    subject: [{ CN: ["x"] }],
    life: DAY,
    uses: ["server"],
    hosts: wanted.hosts,
  });
  expect(judge(other)).toBe("does not name slipway-gateway");
});

test("no certificate outlives its authority", async () => {
  const { certificate } = await issue(issuer, [], 20 * 365 * DAY);
  expect(new X509Certificate(certificate).validToDate.getTime()).toBe(issuer.end);
});

test("the authority is named a year before it ends", () => {
  expect(authorityWarning(clock.now() + 366 * DAY, clock.now())).toBeUndefined();
  expect(authorityWarning(clock.now() + 364 * DAY, clock.now())).toContain("docs/operations.md");
});

test("members of etcd are named as their Pods are, and a client of etcd by no host", () => {
  const all = wantedCertificates(installation, "slipway-gateway");
  expect(all.map(({ secret, authority }) => `${secret} by ${authority}`)).toEqual([
    "slipway-gateway-tls by gateway",
    "slipway-etcd-server by etcd",
    "slipway-etcd-peer by etcd",
    "slipway-etcd-client by etcd",
  ]);
  const [gateway, server, peer, client] = all;
  expect(gateway?.hosts).toContain("slipway-gateway.slipway-system.svc.cluster.local");
  expect(gateway?.hosts).toContain("updates.example.org");
  expect(server?.hosts).toContain("localhost");
  for (const member of [0, 1, 2]) {
    const pod = `slipway-etcd-${member}.slipway-etcd.slipway-system.svc`;
    expect(server?.hosts).toContain(pod);
    expect(peer?.hosts).toContain(pod);
  }
  expect(client?.hosts).toEqual([]);
});

test("without an etcd of ours there is the gateway's certificate only", () => {
  expect(wantedCertificates({ ...installation, etcdMembers: 0 }, "slipway-gateway")).toHaveLength(1);
});
