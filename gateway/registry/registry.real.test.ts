/** Two gateways on one etcd, and the etcdctl of etcd 3.4, unmodified, whose library (client/v2) locksmith and fleet use, too. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import type { BudgetGate } from "../../coordination/records.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { tool } from "../../hack/tools.ts";
import type { ShownCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import {
  type Answer,
  openPoll,
  type Served,
  type ServedOptions,
  serveRegistry,
} from "../../test/registry/served.ts";

let cluster: EtcdCluster;
const ports: EtcdPort[] = [];
const gateways: Served[] = [];

beforeAll(async () => {
  cluster = await startEtcd();
});
afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.close()));
  await Promise.all(ports.splice(0).map((port) => port.close()));
});
afterAll(() => cluster?.stop());

function connect(): EtcdPort {
  const port = connectEtcd({ endpoints: cluster.endpoints, clock: systemClock, random: systemRandom });
  ports.push(port);
  return port;
}

async function gateway(options: ServedOptions): Promise<Served> {
  const served = await serveRegistry(connect(), options);
  gateways.push(served);
  return served;
}

interface Node {
  value: string;
  modifiedIndex: number;
}
const nodeOf = ({ body }: Answer): Node => (JSON.parse(body) as { node: Node }).node;

describe("two gateways on one etcd", () => {
  it("let exactly one of those that swap at one index win", async () => {
    const pair = await Promise.all([gateway({ name: "race" }), gateway({ name: "race" })]);
    const [one] = pair;
    await one.ask("/key", { method: "PUT", form: "value=0" });
    for (let round = 1; round <= 20; round++) {
      const { modifiedIndex } = nodeOf(await one.ask("/key?quorum=true"));
      const answers = await Promise.all(
        Array.from({ length: 16 }, (_, i) =>
          (pair[i % 2] as Served).ask("/key", {
            method: "PUT",
            form: `value=${round}-${i}&prevIndex=${modifiedIndex}`,
          }),
        ),
      );
      const won = answers.filter((answer) => answer.status === 200);
      expect(won).toHaveLength(1);
      expect(
        answers.filter((answer) => answer.status === 412 && answer.body.includes('"errorCode":101')),
      ).toHaveLength(15);
      expect(nodeOf(await one.ask("/key?quorum=true"))).toMatchObject({
        ...{ value: nodeOf(won[0] as Answer).value, modifiedIndex: modifiedIndex + 1 },
      });
    }
  });

  it("lose no increment, and have each index once, in each one's stream alike", async () => {
    const pair = await Promise.all([gateway({ name: "count" }), gateway({ name: "count" })]);
    await pair[0].ask("/key", { method: "PUT", form: "value=0" });
    const streams = await Promise.all(
      pair.map(({ port }) => openPoll(port, "/v2/keys/key?wait=true&stream=true&waitIndex=1")),
    );
    const [clients, each] = [8, 25];
    const indexes = await Promise.all(
      Array.from({ length: clients }, async (_, i) => {
        const mine: number[] = [];
        while (mine.length < each) {
          const at = pair[i % 2] as Served;
          const { value, modifiedIndex } = nodeOf(await at.ask("/key?quorum=true"));
          const answer = await at.ask("/key", {
            method: "PUT",
            form: `value=${Number(value) + 1}&prevIndex=${modifiedIndex}`,
          });
          if (answer.status === 200) mine.push(nodeOf(answer).modifiedIndex);
          else expect(answer.status).toBe(412);
        }
        return mine;
      }),
    );
    expect(new Set(indexes.flat()).size).toBe(clients * each);
    expect(nodeOf(await pair[1].ask("/key?quorum=true"))).toMatchObject({ value: "200", modifiedIndex: 201 });
    for (const stream of streams) {
      const seen: number[] = [];
      while (seen.at(-1) !== 201)
        seen.push(nodeOf({ body: (await stream.next()) ?? "" } as Answer).modifiedIndex);
      expect(seen).toEqual(Array.from({ length: 201 }, (_, i) => i + 1));
      stream.close();
    }
  });
});

describe("etcdctl of etcd 3.4", () => {
  let etcdctl: string;
  beforeAll(async () => {
    etcdctl = await tool("etcdctl-3.4");
  });

  /** What it prints, or its code and what it says. */
  async function run(endpoint: string, ...args: string[]): Promise<string> {
    const env = { PATH: process.env.PATH, ETCDCTL_API: "2" };
    try {
      const { stdout } = await promisify(execFile)(etcdctl, ["--endpoints", endpoint, ...args], {
        env,
        timeout: 20_000,
      });
      return stdout.trim();
    } catch (error) {
      const { code, stderr } = error as { code: number; stderr: string };
      return `${code}: ${stderr.trim()}`;
    }
  }

  it.each<[string, (port: number) => string[]]>([
    ["by a secret in the path", (port) => [`http://127.0.0.1:${port}/registry/hidden`]],
    ["by name and password", (port) => [`http://127.0.0.1:${port}`, "--username", "ctl:hidden"]],
  ])("reads and writes %s", async (_, how) => {
    const { port } = await gateway({
      name: "ctl",
      route: { accepts: (_: string, { secret }: ShownCredentials) => secret === "hidden", open: undefined },
    });
    const [endpoint = "", ...flags] = how(port);
    const ctl = (...args: string[]) => run(endpoint, ...flags, ...args);
    expect(await ctl("set", "/d/a", "1")).toBe("1");
    expect(await ctl("mk", "/d/a", "2")).toMatch(/^4: Error: {2}105: Key already exists \(\/d\/a\) \[\d+\]$/);
    expect(await ctl("update", "/d/a", "2")).toBe("2");
    expect(await ctl("set", "--swap-with-value", "1", "/d/a", "3")).toMatch(
      /101: Compare failed \(\[1 != 2\]\)/,
    );
    expect(await ctl("set", "--ttl", "1000", "/d/b", "x y&<z>")).toBe("x y&<z>");
    expect(await ctl("get", "/d/b")).toBe("x y&<z>");
    expect(await ctl("ls", "--recursive", "--sort", "/")).toBe("/d\n/d/a\n/d/b");
    expect(await ctl("mk", "--in-order", "/q", "job")).toBe("job");
    expect(await ctl("watch", "--after-index", "1", "/d/a")).toBe("2");
    expect(await ctl("rm", "--recursive", "/d")).toBe("");
    expect(await ctl("rm", "--recursive", "/q")).toBe("");
    expect(await ctl("get", "/d/a")).toMatch(/^4: Error: {2}100: Key not found \(\/d\) \[\d+\]$/);
    expect(
      await run(
        endpoint.replace("hidden", "wrong"),
        ...flags.map((flag) => flag.replace("hidden", "wrong")),
        "get",
        "/",
      ),
    ).toMatch(/^\d+: /);
  });

  it("takes and gives back a slot by swapping locksmith's semaphore", async () => {
    const coordination = createCoordination({
      etcd: connect(),
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    });
    const leader = await coordination.raiseEpoch(await coordination.readEpoch(), true);
    if (leader === undefined) throw new Error("another leads");
    const validUntil = systemClock.now() + 30_000;
    const machines = { budgets: ["group/default"], needs: 60_000, open: false };
    const group = openGate("default", validUntil, { machines });
    const budget: BudgetGate = { budget: "group/default", max: 1, unavailable: [], validUntil };
    await coordination.writeGates(leader, { groups: [group], budgets: [budget] });
    const { port } = await gateway({ name: "locks", coordination });
    const ctl = (...args: string[]) => run(`http://127.0.0.1:${port}`, ...args);
    const key = "/coreos.com/updateengine/rebootlock/semaphore";
    const free = '{"semaphore":1,"max":1,"holders":null}';
    const taken = '{"semaphore":0,"max":1,"holders":["0123456789abcdef0123456789abcdef"]}';
    expect(await ctl("mk", key, free)).toContain("105: Key already exists");
    expect(await ctl("get", key)).toBe(free);
    expect(await ctl("set", "--swap-with-value", free, key, taken)).toBe(taken);
    expect([...(await coordination.readFleet()).grants.keys()]).toEqual(["0123456789abcdef0123456789abcdef"]);
    expect(await ctl("set", "--swap-with-value", free, key, taken)).toContain("101: Compare failed");
    expect(await ctl("get", key)).toBe(taken);
    expect(await ctl("set", "--swap-with-value", taken, key, free)).toBe(free);
    expect((await coordination.readFleet()).grants.size).toBe(0);
  });
});
