import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SERVER_NAME } from "../../gateway/certificate-authority.ts";
import { makeAuthority, makeKey, readBundle } from "../../pki/issuer.ts";
import { silentLogger } from "../../ports/log.ts";
import { CONFIG_MAPS, type ConfigMap, SECRETS, type Secret } from "../../runtime/core.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { keepCertificates, publishTrust } from "./certificates.ts";

const DAY = 24 * 3_600_000;
let space: RealNamespace;
beforeEach(async () => {
  space = await RealNamespace.open();
});
afterEach(() => space.close());

function options(ahead = 0) {
  const clock = { ...ports.clock, now: () => ports.clock.now() + ahead };
  return {
    client: space.admin,
    ...ports,
    clock,
    log: silentLogger,
    installation: {
      namespace: space.name,
      fullname: "slipway",
      gatewayNames: ["updates.example.org"],
      etcdMembers: 1,
      clusterDomain: "cluster.local",
    },
  };
}

const secret = (name: string): Promise<Secret> =>
  space.admin.get<Secret>(SECRETS, { name, namespace: space.name });
const file = ({ data }: Secret, name: string): string => Buffer.from(data?.[name] ?? "", "base64").toString();

test("everything is made once, and a second run keeps it", async () => {
  const made = await keepCertificates(options());
  expect(made.map(({ name, did }) => `${name} ${did}`)).toEqual([
    "slipway-ca made",
    "slipway-gateway-tls made",
    "slipway-etcd-ca made",
    "slipway-etcd-server made",
    "slipway-etcd-peer made",
    "slipway-etcd-client made",
    "slipway-gateway-ca made",
  ]);
  const again = await keepCertificates(options());
  expect(again.map(({ did }) => did)).toEqual(made.map(() => "kept"));
});

test("several at once make one authority, and certificates of that one", async () => {
  await Promise.all(Array.from({ length: 4 }, () => keepCertificates(options())));
  const authority = new X509Certificate(file(await secret("slipway-etcd-ca"), "ca.crt"));
  for (const name of ["slipway-etcd-server", "slipway-etcd-peer", "slipway-etcd-client"]) {
    const found = await secret(name);
    expect(found.type).toBe("kubernetes.io/tls");
    expect(new X509Certificate(file(found, "tls.crt")).verify(authority.publicKey)).toBe(true);
  }
});

test("61 days later the certificates are renewed, by the same authorities", async () => {
  await keepCertificates(options());
  const before = await secret("slipway-gateway-tls");
  const later = await keepCertificates(options(61 * DAY));
  const did = Object.fromEntries(later.map(({ name, did }) => [name, did]));
  expect(did).toMatchObject({
    "slipway-ca": "kept",
    "slipway-gateway-tls": "renewed",
    "slipway-etcd-client": "renewed",
    "slipway-gateway-ca": "kept",
  });
  const after = await secret("slipway-gateway-tls");
  expect(file(after, "ca.crt")).toBe(file(before, "ca.crt"));
  expect(file(after, "tls.key")).not.toBe(file(before, "tls.key"));
});

test("what somebody else made is left to them, and an authority of theirs signs", async () => {
  await keepCertificates(options());
  for (const name of ["slipway-ca", "slipway-gateway-tls"]) {
    const { data, type } = await secret(name);
    await space.admin.delete(SECRETS, { name, namespace: space.name });
    const foreign: Secret = {
      ...{ apiVersion: "v1", kind: "Secret", metadata: { name, namespace: space.name } },
      ...(data === undefined ? {} : { data }),
      ...(type === undefined ? {} : { type }),
    };
    await space.admin.create(SECRETS, foreign);
  }
  const later = await keepCertificates(options(91 * DAY));
  const left = later.filter(({ did }) => did === "left to its owner").map(({ name }) => name);
  expect(left).toEqual(["slipway-ca", "slipway-gateway-tls"]);
});

test("an authority is replaced while both are trusted", async () => {
  await keepCertificates(options());
  const [before, key] = [await secret("slipway-ca"), makeKey()];
  const old = file(before, "ca.crt");
  const next = await makeAuthority(key, "next", ports);
  const put = (data: Record<string, string>) => {
    const body = Object.entries(data).map(([name, text]) => [name, Buffer.from(text).toString("base64")]);
    const patch = { type: "merge" as const, body: { data: Object.fromEntries(body) } };
    return space.admin.patch(SECRETS, { name: "slipway-ca", namespace: space.name }, patch);
  };
  const published = async (): Promise<string[]> => {
    const key = { name: "slipway-gateway-ca", namespace: space.name };
    const { data } = await space.admin.get<ConfigMap>(CONFIG_MAPS, key);
    return readBundle(data?.["ca.crt"] ?? "").map(({ subject }) => subject);
  };
  const issuer = async (): Promise<string> =>
    new X509Certificate(file(await secret("slipway-gateway-tls"), "tls.crt")).issuer;

  await put({ "ca.crt": old + next });
  await keepCertificates(options());
  expect(await published()).toEqual(["CN=slipway machines", "CN=next"]);
  expect(await issuer()).toBe("CN=slipway machines");
  await put({ "ca.key": key });
  await keepCertificates(options());
  expect(await issuer()).toBe("CN=next");
  expect((await published()).toSorted()).toEqual(["CN=next", "CN=slipway machines"]);
  await put({ "ca.crt": next });
  await keepCertificates(options());
  expect(await published()).toEqual(["CN=next"]);
  expect(await issuer()).toBe("CN=next");
});

test("an authority without its key is refused, and not replaced", async () => {
  await keepCertificates(options());
  const { metadata, data } = await secret("slipway-ca");
  const body = { metadata: { resourceVersion: metadata.resourceVersion }, data: { ...data, "ca.key": null } };
  await space.admin.patch(SECRETS, { name: "slipway-ca", namespace: space.name }, { type: "merge", body });
  await expect(keepCertificates(options())).rejects.toThrow(
    /slipway-ca needs ca.crt and ca.key: restore them/,
  );
});

test.each([
  ["slipway-ca", ["slipway-etcd-server", "slipway-etcd-peer", "slipway-etcd-client"], "slipway-gateway-tls"],
  ["slipway-etcd-ca", ["slipway-gateway-tls"], "slipway-etcd-server"],
])("without the authority %s the certificates of the other one are renewed", async (lost, renewed, kept) => {
  await keepCertificates(options());
  const all = [...renewed, kept];
  const certificates = () => Promise.all(all.map(async (name) => file(await secret(name), "tls.crt")));
  const before = await certificates();
  const patch = { type: "merge" as const, body: { data: { "ca.key": null } } };
  await space.admin.patch(SECRETS, { name: lost, namespace: space.name }, patch);
  const trust = { name: "slipway-gateway-ca", namespace: space.name };
  await space.admin.delete(CONFIG_MAPS, trust);
  await expect(keepCertificates(options(61 * DAY))).rejects.toThrow(`${lost} needs ca.crt and ca.key`);
  const after = await certificates();
  expect(all.filter((_, index) => after[index] !== before[index])).toEqual(renewed);
  const published = await space.admin.list<ConfigMap>(CONFIG_MAPS, { namespace: space.name });
  expect(published.items.some(({ metadata }) => metadata.name === trust.name)).toBe(lost !== "slipway-ca");
});

test("of two authorities that can't be used both are named", async () => {
  await keepCertificates(options());
  for (const name of ["slipway-ca", "slipway-etcd-ca"]) {
    const patch = { type: "merge" as const, body: { data: { "ca.key": null } } };
    await space.admin.patch(SECRETS, { name, namespace: space.name }, patch);
  }
  await expect(keepCertificates(options())).rejects.toThrow(
    /slipway-ca needs ca.crt and ca.key: .*; .*slipway-etcd-ca needs ca.crt and ca.key: /,
  );
});

test("a certificate of cert-manager is published for the agents", async () => {
  await expect(publishTrust(options(), 0)).rejects.toThrow(/kubectl describe certificate/);
  const metadata = { name: "slipway-gateway-tls", namespace: space.name };
  const data = { "ca.crt": Buffer.from("PEM").toString("base64") };
  await space.admin.create<Secret>(SECRETS, { apiVersion: "v1", kind: "Secret", metadata, data });
  expect(await publishTrust(options(), 0)).toEqual({ name: "slipway-gateway-ca", did: "made" });
  const published = await space.admin.get<ConfigMap>(CONFIG_MAPS, {
    name: "slipway-gateway-ca",
    namespace: space.name,
  });
  expect(published.data).toEqual({ "ca.crt": "PEM" });
});

test("an agent that trusts the ConfigMap reaches a server with the gateway's Secret", async () => {
  await keepCertificates(options());
  const gateway = await secret("slipway-gateway-tls");
  const trust = await space.admin.get<ConfigMap>(CONFIG_MAPS, {
    name: "slipway-gateway-ca",
    namespace: space.name,
  });
  const server = createServer({ cert: file(gateway, "tls.crt"), key: file(gateway, "tls.key") });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    for (const servername of [SERVER_NAME, `slipway-gateway.${space.name}.svc`, "updates.example.org"]) {
      const socket = connect({ host: "127.0.0.1", port, servername, ca: trust.data?.["ca.crt"] });
      await once(socket, "secureConnect");
      expect(socket.authorized).toBe(true);
      socket.destroy();
    }
  } finally {
    server.close();
  }
});
