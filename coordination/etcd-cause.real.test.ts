/** What is said where something is wrong on the way to a real etcd, and that a mended file is enough. */
import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EtcdCluster, type EtcdTls, startEtcd } from "../hack/plane/etcd.ts";
import { Authority } from "../hack/plane/pki.ts";
import { freePorts } from "../hack/plane/ports.ts";
import { systemClock } from "../ports/clock.ts";
import { systemRandom } from "../ports/random.ts";
import type { EtcdPort } from "./etcd.ts";
import { connectEtcd } from "./etcd3-port.ts";

let cluster: EtcdCluster;
let good: EtcdTls;

beforeAll(async () => {
  cluster = await startEtcd({ tls: true });
  if (cluster.tls === undefined) throw new Error("the cluster serves no TLS");
  good = cluster.tls;
});
afterAll(() => cluster.stop());

function connect(tls: () => EtcdTls, endpoint = cluster.endpoints[0] ?? ""): EtcdPort {
  const named = endpoint.replace("127.0.0.1", "localhost");
  return connectEtcd({
    endpoints: [named],
    clock: systemClock,
    random: systemRandom,
    callTimeout: 2_000,
    tls,
  });
}

/** What a read says; "" where it is answered. */
async function said(port: EtcdPort): Promise<string> {
  try {
    await port.read([]);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const stranger = await Authority.create("somebody else");

test.each([
  [
    "another authority's client",
    async () => ({ ...(await stranger.issue({ commonName: "slipway" })) }),
    /: it refuses our client certificate/,
  ],
  [
    "a client that has expired",
    async () => cluster.issue({ commonName: "slipway", expired: true }),
    /: it (?:says that our client certificate has expired|refuses our client certificate)/,
  ],
  [
    "another authority to trust",
    async () => ({ ca: stranger.certificate }),
    /: its certificate is not of the authority that --etcd-ca names/,
  ],
])("%s is told in words, and mended without a new process", async (_what, wrong, words) => {
  let current: EtcdTls = { ...good, ...(await wrong()) };
  const port = connect(() => current);
  try {
    expect(await said(port)).toMatch(words);
    current = good;
    await expect.poll(() => said(port), { timeout: 10_000, interval: 100 }).toBe("");
  } finally {
    await port.close();
  }
});

test("a server whose certificate has expired is told in words, and its new one is taken", async () => {
  const server = { commonName: "etcd", hosts: ["127.0.0.1", "localhost"] };
  cluster.present(await cluster.issue({ ...server, expired: true }));
  const port = connect(() => good);
  try {
    expect(await said(port)).toMatch(/: its certificate has expired/);
    cluster.present(await cluster.issue(server));
    await expect.poll(() => said(port), { timeout: 20_000, interval: 100 }).toBe("");
  } finally {
    await port.close();
    cluster.present(await cluster.issue(server));
  }
});

test("a server for another name is told in words", async () => {
  cluster.present(await cluster.issue({ commonName: "etcd", hosts: ["etcd-7.example.org"] }));
  const port = connect(() => good);
  try {
    expect(await said(port)).toMatch(/: its certificate is for another name/);
  } finally {
    await port.close();
    cluster.present(await cluster.issue({ commonName: "etcd", hosts: ["127.0.0.1", "localhost"] }));
  }
});

test("where nobody listens, where no name is known, and where no TLS is spoken", async () => {
  const [nobody] = await freePorts(1);
  const plain = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  const address = plain.address();
  const other = typeof address === "object" && address !== null ? address.port : 0;
  const told = async (endpoint: string): Promise<string> => {
    const port = connect(() => good, endpoint);
    try {
      return await said(port);
    } finally {
      await port.close();
    }
  };
  try {
    const refused = await told(`https://localhost:${nobody}`);
    expect(refused).toMatch(
      /^etcd gave no answer to a read: https:\/\/localhost:\d+: nobody listens there \(/,
    );
    expect(await told("https://etcd.invalid:2379")).toMatch(/etcd\.invalid:2379: its name is not known/);
    expect(await told(`https://localhost:${other}`)).toMatch(/: it does not speak TLS there/);
  } finally {
    plain.close();
  }
});
