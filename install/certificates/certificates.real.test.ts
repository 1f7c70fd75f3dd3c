import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { SERVER_NAME } from "../../gateway/certificate-authority.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { Child } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { tool } from "../../hack/tools.ts";
import { silentLogger } from "../../ports/log.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { CONFIG_MAPS, type ConfigMap, SECRETS, type Secret } from "../core.ts";
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
    "slipway-etcd-ca made",
    "slipway-gateway-tls made",
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

test("an authority without its key is refused, and not replaced", async () => {
  await keepCertificates(options());
  const { metadata, data } = await secret("slipway-ca");
  const body = { metadata: { resourceVersion: metadata.resourceVersion }, data: { ...data, "ca.key": null } };
  await space.admin.patch(SECRETS, { name: "slipway-ca", namespace: space.name }, { type: "merge", body });
  await expect(keepCertificates(options())).rejects.toThrow(
    /slipway-ca needs ca.crt and ca.key: restore them/,
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

test("etcd serves with its Secrets, and takes no certificate of the authority of machines, nor one before its time", async () => {
  await keepCertificates(options());
  const directory = join(space.directory, "etcd");
  mkdirSync(directory);
  for (const name of ["slipway-etcd-server", "slipway-etcd-peer"]) {
    const found = await secret(name);
    for (const each of ["ca.crt", "tls.crt", "tls.key"])
      writeFileSync(join(directory, `${name}-${each}`), file(found, each));
  }
  const [client, peer] = await freePorts(2);
  const url = `https://localhost:${client}`;
  const tls = (prefix: string, secret: string): string[] =>
    [
      ["trusted-ca-file", "ca.crt"],
      ["cert-file", "tls.crt"],
      ["key-file", "tls.key"],
    ].map(([flag, name]) => `--${prefix}${flag}=${join(directory, `${secret}-${name}`)}`);
  const etcd = await Child.start({
    name: "etcd",
    command: await tool("etcd"),
    args: [
      ...["--name=slipway-etcd-0", `--data-dir=${join(directory, "data")}`, "--unsafe-no-fsync"],
      ...[`--listen-client-urls=https://127.0.0.1:${client}`, `--advertise-client-urls=${url}`],
      ...[
        `--listen-peer-urls=https://127.0.0.1:${peer}`,
        `--initial-advertise-peer-urls=https://localhost:${peer}`,
      ],
      `--initial-cluster=slipway-etcd-0=https://localhost:${peer}`,
      ...["--client-cert-auth", "--peer-client-cert-auth", "--peer-cert-allowed-cn=slipway-etcd-peer"],
      ...[
        "--enable-grpc-gateway=false",
        ...tls("", "slipway-etcd-server"),
        ...tls("peer-", "slipway-etcd-peer"),
      ],
    ],
    logFile: join(directory, "log"),
    env: {},
  });
  try {
    const open = async (name: string) => {
      const found = await secret(name);
      const [ca, certificate, key] = ["ca.crt", "tls.crt", "tls.key"].map((each) => file(found, each));
      return connectEtcd({
        ...{ endpoints: [url], ...ports, callTimeout: 2_000 },
        tls: () => ({ ca: ca ?? "", certificate: certificate ?? "", key: key ?? "" }),
      });
    };
    const writes = async (name: string): Promise<boolean> => {
      const port = await open(name);
      try {
        return (await port.txn([], [{ put: "/t/a", value: "1" }])).outcome === "committed";
      } finally {
        await port.close();
      }
    };
    await waitUntil(() => writes("slipway-etcd-client"), {
      what: "etcd takes the client's certificate",
      deadline: 30_000,
      hopeless: () => etcd.obituary(),
    });
    await keepCertificates(options(61 * DAY));
    // Issued at a clock that is ahead, backdated by five minutes only: etcd does not take it yet.
    expect(await writes("slipway-etcd-client")).toBe(false);
    expect(await writes("slipway-gateway-tls")).toBe(false);
  } finally {
    await etcd.kill();
  }
});
