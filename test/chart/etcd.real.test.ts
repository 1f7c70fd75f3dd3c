/** etcd as the chart starts it, with the certificates that `slipway certificates` makes, on the loopback interface. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd, type EtcdTls } from "../../coordination/etcd3-port.ts";
import { render } from "../../hack/chart/golden.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { Child } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { tool } from "../../hack/tools.ts";
import { keepCertificates } from "../../install/certificates/certificates.ts";
import { PEER_NAME } from "../../install/certificates/policy.ts";
import { Issuer } from "../../pki/issuer.ts";
import { silentLogger } from "../../ports/log.ts";
import { SECRETS, type Secret } from "../../runtime/core.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";

const MEMBERS = 3;
const DAY = 24 * 3_600_000;
let space: RealNamespace;
let endpoints: string[];
const members: Child[] = [];

beforeAll(async () => {
  space = await RealNamespace.open();
  const installation = {
    ...{ namespace: space.name, fullname: "slipway", clusterDomain: "cluster.local" },
    ...{ gatewayNames: [], etcdMembers: MEMBERS },
  };
  await keepCertificates({ client: space.admin, ...ports, log: silentLogger, installation });
  await writeFiles("server", await files("slipway-etcd-server"));
  await writeFiles("peer", await peerFiles());
  const [clients, peers, health] = [
    await freePorts(MEMBERS),
    await freePorts(MEMBERS),
    await freePorts(MEMBERS),
  ];
  endpoints = clients.map((port) => `https://localhost:${port}`);
  const command = await tool("etcd");
  const flags = await chartFlags();
  for (let member = 0; member < MEMBERS; member++) {
    const name = `slipway-etcd-${member}`;
    const data = join(space.directory, name);
    const args = flags.map((flag) =>
      flag
        .replaceAll("$(POD_NAME)", name)
        .replaceAll(
          /slipway-etcd-(\d)\.slipway-etcd\.slipway-system\.svc:2379/g,
          (_, m) => `localhost:${clients[m]}`,
        )
        .replaceAll(
          /slipway-etcd-(\d)\.slipway-etcd\.slipway-system\.svc:2380/g,
          (_, m) => `localhost:${peers[m]}`,
        )
        .replace("0.0.0.0:2379", `127.0.0.1:${clients[member]}`)
        .replace("0.0.0.0:2380", `127.0.0.1:${peers[member]}`)
        .replace("0.0.0.0:2381", `127.0.0.1:${health[member]}`)
        .replace("/var/lib/etcd/data", data)
        .replace("/etc/etcd/", `${space.directory}/`),
    );
    members.push(await Child.start({ name, command, args, logFile: `${data}.log`, env: {} }));
  }
  for (const [member, port] of health.entries()) {
    await waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, {
      what: `member ${member} answers the readiness probe`,
      deadline: 40_000,
      hopeless: () => members[member]?.obituary(),
    });
  }
});
afterAll(async () => {
  await Promise.all(members.map((member) => member.kill()));
  await space.close();
});

async function chartFlags(): Promise<string[]> {
  const all = parseAllDocuments(await render(undefined, ["--set", "etcd.fsync=false"]));
  const set = all.find((each) => each.get("kind") === "StatefulSet")?.toJS() as {
    spec: { template: { spec: { containers: [{ args: string[] }] } } };
  };
  return set.spec.template.spec.containers[0].args;
}

async function files(name: string): Promise<Record<string, string>> {
  const { data = {} } = await space.admin.get<Secret>(SECRETS, { name, namespace: space.name });
  return Object.fromEntries(
    Object.entries(data).map(([file, text]) => [file, Buffer.from(text, "base64").toString()]),
  );
}

/** As the Secret's, for members that are known as localhost here. */
async function peerFiles(): Promise<Record<string, string>> {
  const authority = await files("slipway-etcd-ca");
  const issuer = new Issuer({ bundle: authority["ca.crt"] ?? "", key: authority["ca.key"] ?? "", ...ports });
  const { certificate, key } = await issuer.issueWithKey({
    ...{ subject: [{ CN: [PEER_NAME] }], life: DAY, uses: ["server", "client"], hosts: ["localhost"] },
  });
  return { "ca.crt": issuer.bundle, "tls.crt": certificate, "tls.key": key };
}

async function writeFiles(folder: string, content: Record<string, string>): Promise<void> {
  mkdirSync(join(space.directory, folder));
  for (const [name, text] of Object.entries(content))
    writeFileSync(join(space.directory, folder, name), text);
}

/** A client with the certificate of a Secret. */
async function clientOf(secret: string): Promise<EtcdPort> {
  const found = await files(secret);
  const ca = (await files("slipway-etcd-client"))["ca.crt"] ?? "";
  const tls: EtcdTls = { ca, certificate: found["tls.crt"] ?? "", key: found["tls.key"] ?? "" };
  return connectEtcd({ endpoints, ...ports, tls: () => tls });
}

async function outcome(secret: string): Promise<string> {
  const port = await clientOf(secret);
  try {
    return (await port.txn([], [{ put: "/t/a", value: "1" }])).outcome;
  } finally {
    await port.close();
  }
}

test("manager and gateway write with the client's certificate", async () => {
  expect(await outcome("slipway-etcd-client")).toBe("committed");
});

test("a certificate of the gateways' authority, as machines have them, opens nothing", async () => {
  expect(await outcome("slipway-gateway-tls")).toBe("unknown");
});

test("with two of three members they still write", async () => {
  await members[0]?.kill();
  const port = await clientOf("slipway-etcd-client");
  try {
    const writes = async (): Promise<boolean> =>
      (await port.txn([], [{ put: "/t/b", value: "1" }])).outcome === "committed";
    await waitUntil(writes, { what: "the other two take a write", deadline: 30_000 });
  } finally {
    await port.close();
  }
});
