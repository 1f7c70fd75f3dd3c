/**
 * A thousand machines that speak Omaha and twelve Nodes in one group, with one budget. The machines keep update_engine's
 * own times (its omaha_request_params and update_check_scheduler), all divided by one factor, as the group's are.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { expect, test } from "vitest";
import type { Release } from "../../../api/release.ts";
import { mostAtOnce, type Outage, observe } from "../../../hack/cluster/observer.ts";
import { MachineCredentials, parseKeys } from "../../../pki/machine-credentials.ts";
import { OmahaMachine } from "../../omaha/machine.ts";
import type { Verdict } from "../../omaha/update-engine.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";

const FLEET = 1000;
const NODES = machines(12).map(({ name }) => name);
/** Machines and Nodes that may be down at once. */
const BUDGET = 60;
/** Times of the machines and of the group are divided by it. */
const FACTOR = 300;
const MINUTE = 60_000 / FACTOR;
/** First check 7 min after the start, then each 45 min, 5 min more or less. */
const FIRST = 7 * MINUTE;
const PERIOD = 45 * MINUTE;
const FUZZ = 5 * MINUTE;
const DOWNLOAD = 5 * MINUTE;
const REBOOT = 2 * MINUTE;
/** Of the group, min: hardware that starts slowly, so that what is left of it is enough for processes on a busy host. */
const OF_GROUP = { bootDeadline: 40, rebootTime: 75, releaseDeadline: 300 };
const THRESHOLD = 10;

function ofGroup(time: keyof typeof OF_GROUP): string {
  return `${(OF_GROUP[time] * MINUTE) / 1000}s`;
}

const day = days({ machines: machines(12), gateways: 2, limits: { total: 12, perZone: 12 } });

class Fleet {
  readonly machines: OmahaMachine[] = [];
  readonly outages: Outage[] = [];
  readonly updating = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #bad: ReadonlySet<string>;
  #runs: Promise<void>[] = [];

  /** `bad`: versions that machines fall back from. */
  constructor(post: (xml: string) => Promise<string>, bad: readonly string[], product: string) {
    this.#bad = new Set(bad);
    for (let id = 1; id <= FLEET; id++) {
      const one = new OmahaMachine(id, "1.0.0", post);
      [one.track, one.appid] = ["fleet", product];
      this.machines.push(one);
    }
  }

  start(): void {
    // As if they had been started over a whole period, a while ago.
    this.#runs = this.machines.map(async (one, index) => {
      await this.#wait((index / FLEET) * PERIOD);
      while (!this.#stop.signal.aborted) {
        await this.#turn(one).catch((error: unknown) => {
          if (!this.#stop.signal.aborted && !isAway(error)) throw error;
        });
        await this.#wait(PERIOD + (((index * 7919) % 1000) / 500 - 1) * FUZZ);
      }
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#runs);
  }

  on(version: string): number {
    return this.machines.filter((one) => one.version === version).length;
  }

  /** From the offer to the check that ends it, a machine counts as down: the slot is the update's. */
  async #turn(one: OmahaMachine): Promise<void> {
    let verdict = await this.#check(one);
    while (verdict.does === "update" && !this.#stop.signal.aborted) {
      await this.#wait(DOWNLOAD);
      await one.install();
      await this.#wait(REBOOT);
      if (this.#bad.has(verdict.version)) one.fallBack();
      else one.reboot(verdict.version);
      await this.#wait(FIRST);
      verdict = await this.#check(one);
    }
    if (verdict.does === "fail") throw new Error(`${one.id}: ${verdict.because}`);
  }

  /** A check, and what it begins or ends; one that a killed gateway did not answer leaves that to the next. */
  async #check(one: OmahaMachine): Promise<Verdict> {
    const to = Date.now();
    const verdict = await one.check();
    const from = this.updating.get(one.id);
    if (verdict.does === "update") this.updating.set(one.id, from ?? Date.now());
    else if (from !== undefined) {
      this.updating.delete(one.id);
      this.outages.push({ machine: one.id, zone: "outside", from, to, cause: "update" });
    }
    return verdict;
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#stop.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** A gateway that was killed: update_engine tries again at its next check. */
function isAway(error: unknown): boolean {
  return /ECONNREFUSED|ECONNRESET|socket hang up/.test(String(error));
}

test("a thousand machines and twelve Nodes share one budget, and a bad release stops both", async () => {
  const today = day();
  const { cluster } = today;
  const group = (Object.keys(OF_GROUP) as (keyof typeof OF_GROUP)[]).map(
    (time) => `${time} ${OF_GROUP[time]} min -> ${ofGroup(time)}`,
  );
  process.stderr.write(
    `slipway: all times are divided by ${FACTOR}: a check each 45 min -> ${PERIOD / 1000}s, ${group.join(", ")}\n`,
  );
  const berth = new Berth(today, "fleet", NODES);
  const keys = parseKeys(readFileSync(cluster.machineKeys, "utf8"));
  const secret = new MachineCredentials(keys).secret("fleet") ?? "";
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  let turn = 0;
  const post = (xml: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const url = `${cluster.edges[turn++ % cluster.edges.length]}/v1/update/${secret}`;
      const sent = request(
        url,
        { agent, method: "POST", headers: { "content-type": "text/xml" } },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
          response.once("end", () => {
            if (response.statusCode === 200) resolve(text);
            else reject(new Error(`${response.statusCode}: ${text}`));
          });
        },
      );
      sent.once("error", reject);
      sent.end(xml);
    });
  const both = async (version: string): Promise<Release> => {
    const { manifest } = await cluster.foundry.release(
      version,
      version.startsWith("1.2") ? "service" : undefined,
    );
    const payload = { name: `${version}.gz`, size: 1000, sha256: "ab".repeat(32) };
    const omaha = [
      { architecture: "amd64", codebases: ["https://images.example.org/os"], payload, extras: [] },
    ];
    return { ...manifest, spec: { ...manifest.spec, omaha } } as Release;
  };
  const good = await both("1.1.0");
  const fleet = new Fleet(post, ["1.2.0"], good.spec.product);
  await berth.declare({
    maxUnavailable: BUDGET,
    failureThreshold: THRESHOLD,
    machines: {},
    drain: { enabled: false },
    health: {
      bootChecks: [
        { name: "harbor", http: `http://localhost:${cluster.servicePort}/healthz`, timeout: "2s" },
      ],
      bootDeadline: ofGroup("bootDeadline"),
      rebootTime: ofGroup("rebootTime"),
      releaseDeadline: ofGroup("releaseDeadline"),
    },
  });
  await cluster.apply(good);
  const began = Date.now();
  await berth.point(good.metadata.name);
  fleet.start();
  try {
    await today.waitFor("most machines have the release", () => fleet.on("1.1.0") > FLEET / 2);
    await cluster.gateways[0]?.kill();
    await cluster.gateways[0]?.start();
    await today.waitFor("all machines have the release", () => fleet.on("1.1.0") === FLEET);
    await berth.done("1.1.0");

    const bad = await both("1.2.0");
    await cluster.apply(bad);
    await berth.point(bad.metadata.name);
    await today.waitFor("the group is halted", async () => {
      const halted = (await berth.group())?.status?.conditions?.find(({ type }) => type === "Halted");
      return halted?.status === "True";
    });
    await today.waitFor("nothing is under way any more", () => fleet.updating.size === 0);
    // Each machine asks again, and more than once, some.
    const [tried, asked] = [fleet.outages.length, turn];
    await today.waitFor("all machines have asked again", () => turn > asked + 2 * FLEET);
    expect(fleet.outages.length, "machines that went down after the halt").toBe(tried);
    const release = await cluster.get<Release>("releases", bad.metadata.name);
    expect(release?.status?.conditions).toContainEqual(
      expect.objectContaining({ type: "Quarantined", status: "True" }),
    );
  } finally {
    await fleet.stop();
    agent.destroy();
  }
  const nodes = observe(
    NODES.map((name) => cluster.machine(name)),
    began,
  ).outages;
  const failed = fleet.outages.length - FLEET;
  expect(mostAtOnce([...fleet.outages, ...nodes])).toBeLessThanOrEqual(BUDGET);
  // Until so many are good on it, no more than the threshold may have it; the Nodes count for themselves.
  expect(failed).toBeGreaterThan(0);
  expect(failed).toBeLessThanOrEqual(THRESHOLD);
  await today.waitFor("all slots are free", async () => (await today.holders("group/fleet")).length === 0);
  const booted = today.booted("1.2.0");
  expect(booted.length, "Nodes that booted the bad release").toBeLessThanOrEqual(THRESHOLD);
  const { boots } = observe(NODES.map((name) => cluster.machine(name)));
  expect(Object.values(boots).map((versions) => versions.at(-1))).toEqual(NODES.map(() => "1.1.0"));
  await berth.kubectl("delete", "updategroup", "fleet");
});
