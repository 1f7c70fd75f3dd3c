import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MANAGER_LEASE } from "../../api/labels.ts";
import { Issuer, makeAuthority, makeKey } from "../../pki/issuer.ts";
import { silentLogger } from "../../ports/log.ts";
import { LEASES, type Lease } from "../../runtime/core.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { probe } from "./probe.ts";

let space: RealNamespace;
beforeEach(async () => {
  space = await RealNamespace.open();
});
afterEach(() => space.close());

async function newIssuer(): Promise<Issuer> {
  const key = makeKey();
  return new Issuer({ bundle: await makeAuthority(key, "test", ports), key, ...ports });
}

async function lease(age: number): Promise<void> {
  const renewTime = new Date(ports.clock.now() - age).toISOString().replace("Z", "000Z");
  await space.admin.create<Lease>(LEASES, {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: MANAGER_LEASE, namespace: space.name },
    spec: { holderIdentity: "m_1", leaseDurationSeconds: 3600, renewTime },
  });
}

/** Probes a server whose certificate `by` signed, trusting `trusted`. */
async function probeServer(by: Issuer, trusted: Issuer): Promise<void> {
  const { certificate, key } = await by.issueWithKey({
    ...{ subject: [{ CN: ["g"] }], life: 60_000, uses: ["server"], hosts: ["localhost"] },
  });
  const server = createServer({ cert: certificate, key });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    await probe({
      ...{ client: space.admin, ...ports, log: silentLogger, namespace: space.name },
      gateway: { host: "localhost", port },
      ca: async () => trusted.bundle,
      deadline: 0,
    });
  } finally {
    server.close();
  }
}

test("an installation with a gateway and a leader is well", async () => {
  const issuer = await newIssuer();
  await lease(0);
  await expect(probeServer(issuer, issuer)).resolves.toBeUndefined();
});

test("a gateway with a certificate of somebody else is none", async () => {
  await lease(0);
  await expect(probeServer(await newIssuer(), await newIssuer())).rejects.toThrow(
    /no gateway answers at localhost/,
  );
});

test("without a leader it says so", async () => {
  const issuer = await newIssuer();
  await expect(probeServer(issuer, issuer)).rejects.toThrow(/no manager has led yet/);
  await lease(2 * 3_600_000);
  await expect(probeServer(issuer, issuer)).rejects.toThrow(/of m_1 was renewed 7200 s ago/);
});
