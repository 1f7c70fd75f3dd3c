/**
 * A thousand machines that speak Omaha and twelve Nodes in one group, with one budget. The machines keep update_engine's
 * own times (its omaha_request_params and update_check_scheduler), and the group has a site's of slow hardware; all are
 * divided by one factor. What the Nodes compute takes as long as ever.
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
const BUDGET = 100;
/** Failures that halt the group, and how many of either kind may have a release that so many are not good on yet. */
const THRESHOLD = 4;
/** All times are divided by it. */
const FACTOR = 300;
/** Min: of a machine the first check after its start, then each period, more or less; and what its update takes. */
const MACHINE = { firstCheck: 7, period: 45, fuzz: 5, download: 5, reboot: 2 };
/** Min. */
const OF_GROUP = {
  ...{ bootCheck: 10, bootDeadline: 40, rebootTime: 60, releaseDeadline: 300 },
  ...{ soak: 30, settle: 20, ratePeriod: 60 },
};
/** The least that an UpdateGroup takes, s; all of its durations are whole seconds. */
const LEAST: Partial<Record<keyof typeof OF_GROUP, number>> = {
  ...{ bootCheck: 1, bootDeadline: 5, rebootTime: 1, releaseDeadline: 5, ratePeriod: 1 },
};
/** Updates that may begin within `ratePeriod`: of the machines, and of the Nodes. */
const RATE = 360;
/** A rate's period is counted by parts of this share (coordination/updates.ts): so much of it is given back early. */
const RATE_PART = 1 / 50;
const CANARIES = { name: "canary", count: "10%" };
const CANARY_NODES = 2;

const day = days({ machines: machines(12), gateways: 2, limits: { total: 12, perZone: 12 } });

/** Ms. */
const ofMachine = (time: keyof typeof MACHINE): number => (MACHINE[time] * 60_000) / FACTOR;

function secondsOf(time: keyof typeof OF_GROUP): number {
  return Math.max(LEAST[time] ?? 0, Math.round((OF_GROUP[time] * 60) / FACTOR));
}

const ofGroup = (time: keyof typeof OF_GROUP): string => `${secondsOf(time)}s`;

/** Ms that surely lie between a machine's return and what waits so long for it: times in a status are whole seconds, cut off. */
const cutOff = (time: keyof typeof OF_GROUP): number => (secondsOf(time) - 1) * 1000;

/** The factor, and what it makes of each time. */
function scale(): string {
  const machine = (Object.keys(MACHINE) as (keyof typeof MACHINE)[]).map(
    (time) => `${time} ${MACHINE[time]}m -> ${ofMachine(time) / 1000}s`,
  );
  const group = (Object.keys(OF_GROUP) as (keyof typeof OF_GROUP)[]).map((time) => {
    const exact = (OF_GROUP[time] * 60) / FACTOR;
    const taken = secondsOf(time);
    const why =
      taken === exact ? "" : ` (not ${exact}s: the API takes whole seconds, ${LEAST[time] ?? 0} or more)`;
    return `${time} ${OF_GROUP[time]}m -> ${taken}s${why}`;
  });
  return `all times are divided by ${FACTOR}; the machines': ${machine.join(", ")}; the group's: ${group.join(", ")}`;
}

/** What a machine was given; the grant lies between `from`, when it asked, and `to`, when it was told. Wall clock, ms. */
interface Given {
  id: string;
  version: string;
  from: number;
  to: number;
}

class Fleet {
  readonly machines: OmahaMachine[] = [];
  readonly outages: Outage[] = [];
  readonly updating = new Map<string, number>();
  readonly given: Given[] = [];
  readonly #stop = new AbortController();
  readonly #bad: string;
  readonly #judged = Promise.withResolvers<void>();
  /** Checks that are not answered yet, and since when. */
  readonly #asking = new Map<string, number>();
  /** When the check was sent that was answered last. */
  readonly #answered = new Map<string, number>();
  #runs: Promise<void>[] = [];

  /** Who is given the version `bad` stays in its boot until `judge` is called; then the first falls back, and the others are well. */
  constructor(post: (xml: string) => Promise<string>, bad: string, product: string) {
    this.#bad = bad;
    for (let id = 1; id <= FLEET; id++) {
      const one = new OmahaMachine(id, "1.0.0", post);
      [one.track, one.appid] = ["fleet", product];
      this.machines.push(one);
    }
  }

  start(): void {
    // As if they had been started over a whole period, a while ago.
    this.#runs = this.machines.map(async (one, index) => {
      await this.#wait((index / FLEET) * ofMachine("period"));
      while (!this.#stop.signal.aborted) {
        await this.#turn(one).catch((error: unknown) => {
          if (!this.#stop.signal.aborted && !isAway(error)) throw error;
        });
        const fuzz = ((index * 7919) % 1000) / 500 - 1;
        await this.#wait(ofMachine("period") + fuzz * ofMachine("fuzz"));
      }
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.judge();
    await Promise.all(this.#runs);
  }

  judge(): void {
    this.#judged.resolve();
  }

  on(version: string): number {
    return this.machines.filter((one) => one.version === version).length;
  }

  /** Given `version`, in the order in which they were told. */
  gives(version: string): Given[] {
    return this.given.filter((one) => one.version === version);
  }

  /** Whether each machine has had an answer to a check that it sent after `time`. */
  allAskedSince(time: number): boolean {
    return this.machines.every(({ id }) => (this.#answered.get(id) ?? 0) > time);
  }

  /** From the offer to the check that ends it, a machine counts as down: the slot is the update's. */
  async #turn(one: OmahaMachine): Promise<void> {
    let verdict = await this.#check(one);
    while (verdict.does === "update" && !this.#stop.signal.aborted) {
      const { version } = verdict;
      await this.#wait(ofMachine("download"));
      await one.install();
      await this.#wait(ofMachine("reboot"));
      if (version === this.#bad) await this.#judged.promise;
      if (version === this.#bad && this.gives(version)[0]?.id === one.id) one.fallBack();
      else one.reboot(version);
      await this.#wait(ofMachine("firstCheck"));
      verdict = await this.#check(one);
    }
    if (verdict.does === "fail") throw new Error(`${one.id}: ${verdict.because}`);
  }

  /** A check, and what it begins or ends; one that a killed gateway did not answer leaves that to the next. */
  async #check(one: OmahaMachine): Promise<Verdict> {
    const sent = Date.now();
    const asked = this.#asking.get(one.id) ?? sent;
    this.#asking.set(one.id, asked);
    const verdict = await one.check();
    this.#asking.delete(one.id);
    this.#answered.set(one.id, sent);
    const from = this.updating.get(one.id);
    if (verdict.does === "update") {
      const told = Date.now();
      if (from === undefined) {
        this.given.push({ id: one.id, version: verdict.version, from: asked, to: told });
        this.updating.set(one.id, told);
      }
    } else if (from !== undefined) {
      this.updating.delete(one.id);
      this.outages.push({ machine: one.id, zone: "outside", from, to: sent, cause: "update" });
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

/** The largest number of grants that surely lie within one span of `length` ms. */
function mostWithin(given: readonly Given[], length: number): number {
  return given.reduce(
    (most, { from }) =>
      Math.max(most, given.filter((other) => other.from >= from && other.to <= from + length).length),
    0,
  );
}

test("a thousand machines and twelve Nodes share one budget, and a bad release stops both", async () => {
  const today = day();
  const { cluster } = today;
  process.stderr.write(`slipway: ${scale()}\n`);
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
  const fleet = new Fleet(post, "1.2.0", good.spec.product);
  await berth.declare({
    maxUnavailable: BUDGET,
    failureThreshold: THRESHOLD,
    stages: [{ ...CANARIES, soak: ofGroup("soak") }],
    settle: ofGroup("settle"),
    rate: { updates: RATE, period: ofGroup("ratePeriod") },
    machines: {},
    drain: { enabled: false },
    health: {
      bootChecks: [
        {
          name: "harbor",
          http: `http://localhost:${cluster.servicePort}/healthz`,
          timeout: ofGroup("bootCheck"),
        },
      ],
      bootDeadline: ofGroup("bootDeadline"),
      rebootTime: ofGroup("rebootTime"),
      releaseDeadline: ofGroup("releaseDeadline"),
    },
  });
  await cluster.apply(good);
  const began = Date.now();
  const nodeOutages = (): Outage[] =>
    observe(
      NODES.map((name) => cluster.machine(name)),
      began,
    ).outages.toSorted((a, b) => a.from - b.from);
  await berth.point(good.metadata.name);
  fleet.start();
  try {
    await today.waitFor("most machines have the release", () => fleet.on("1.1.0") > FLEET / 2);
    await cluster.gateways[0]?.kill();
    await cluster.gateways[0]?.start();
    await today.waitFor("all machines have the release", () => fleet.on("1.1.0") === FLEET);
    await berth.done("1.1.0");
    const canary = (await berth.group())?.status?.stages?.find(({ name }) => name === CANARIES.name);
    const passed = Date.parse(canary?.passedAt ?? "");
    const outages = nodeOutages();
    const [first, second] = outages.slice(0, CANARY_NODES).map(({ to }) => to);
    const third = outages[CANARY_NODES]?.from;
    expect(outages[1]?.from, "the group settles").toBeGreaterThan((first ?? Infinity) + cutOff("settle"));
    expect(passed, "the stage soaks").toBeGreaterThan((second ?? Infinity) + cutOff("soak"));
    expect(third, "the first Node that is no canary waits for the stage").toBeGreaterThanOrEqual(passed);
    const early = fleet.gives("1.1.0").filter(({ to }) => to < passed);
    expect(early.length).toBeGreaterThan(0);
    // By a hash: a tenth, more or less.
    expect(early.length, "machines that are no canaries wait for the stage").toBeLessThan(FLEET / 5);
    const span = secondsOf("ratePeriod") * 1000 * (1 - RATE_PART);
    expect(mostWithin(fleet.gives("1.1.0"), span)).toBeLessThanOrEqual(RATE);

    // Nobody looks at this one first, so that as many may have it as may fail.
    await berth.patch({ stages: [] });
    const bad = await both("1.2.0");
    await cluster.apply(bad);
    await berth.point(bad.metadata.name);
    await today.waitFor("the group is halted", async () => (await halted(berth)) === "True");
    // It was the Nodes' failures: the machines have it too, and say nothing of it before now.
    const blamed = (await berth.group())?.status?.failures?.map(({ node }) => node) ?? [];
    expect(blamed).toHaveLength(THRESHOLD);
    expect(NODES).toEqual(expect.arrayContaining(blamed));
    const taken = fleet.gives("1.2.0");
    expect(taken.length).toBeGreaterThan(0);
    expect(taken.length).toBeLessThanOrEqual(THRESHOLD);
    const since = Date.now();
    fleet.judge();
    // One failure and else good ones: by the machines' own evidence more might have it.
    await today.waitFor("each machine has asked again", () => fleet.allAskedSince(since));
    await today.waitFor("nothing is under way any more", () => fleet.updating.size === 0);
    expect(fleet.gives("1.2.0")).toEqual(taken);
    expect(fleet.on("1.2.0")).toBe(taken.length - 1);
    expect(fleet.on("1.1.0")).toBe(FLEET - taken.length + 1);
    for (const node of NODES) {
      await berth.until(node, "is on 1.1.0, and is to stay there", ({ spec, status }) => {
        const isSent = spec.release === bad.metadata.name;
        return status?.running === "1.1.0" && status.grant === undefined && !isSent;
      });
    }
    expect(await halted(berth)).toBe("True");
    const release = await cluster.get<Release>("releases", bad.metadata.name);
    expect(release?.status?.conditions).toContainEqual(
      expect.objectContaining({ type: "Quarantined", status: "True" }),
    );
  } finally {
    await fleet.stop();
    agent.destroy();
  }
  const tried = today.booted("1.2.0");
  expect(tried.length, "Nodes that booted it").toBeGreaterThan(0);
  expect(tried.length, "Nodes that booted it").toBeLessThanOrEqual(THRESHOLD);
  const { boots } = observe(NODES.map((name) => cluster.machine(name)));
  expect(Object.values(boots).map((versions) => versions.at(-1))).toEqual(NODES.map(() => "1.1.0"));
  const most = mostAtOnce([...fleet.outages, ...nodeOutages()]);
  expect(most).toBeLessThanOrEqual(BUDGET);
  expect(most, "the budget is what they wait for").toBeGreaterThan(BUDGET / 2);
  await today.waitFor("all slots are free", async () => (await today.holders("group/fleet")).length === 0);
  await berth.kubectl("delete", "updategroup", "fleet");
  // Its durations take three minutes by themselves.
}, 480_000);

async function halted(berth: Berth): Promise<string | undefined> {
  return (await berth.group())?.status?.conditions?.find(({ type }) => type === "Halted")?.status;
}
