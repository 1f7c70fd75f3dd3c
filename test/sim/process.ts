/** The processes of Slipway that run in the simulated cluster: managers and gateways, each on its own clock. */
import type { HttpCaller } from "../../controllers/http/caller.ts";
import { createFleetManager } from "../../controllers/manager.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import type { Identity } from "../../gateway/agents/authenticate.ts";
import { goAway } from "../../gateway/agents/go-away.ts";
import { defaultSessionLimits, type SessionMeter } from "../../gateway/agents/session.ts";
import { SessionTable } from "../../gateway/agents/session-table.ts";
import { FleetView } from "../../gateway/fleet-view.ts";
import { Presence } from "../../gateway/presence.ts";
import type { Logger } from "../../ports/log.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import type { SimApiServer } from "./api-server.ts";
import type { ProcessClock, SimClock } from "./clock.ts";
import { NAMESPACE } from "./cluster.ts";
import type { Desk } from "./desk.ts";
import { type Fate, type SimClient, type SimEtcd, type SimLink } from "./etcd.ts";
import type { Doorway, Network, Stream } from "./network.ts";
import type { SeededRandom } from "./random.ts";

export interface EtcdFaults {
  /** Nothing arrives. */
  down: boolean;
  /** Chance that a request has no answer; whether it happens is another question. */
  flaky: number;
}

/** What tests wrap to plant a bug. `process`: its name, `manager-0` or `gateway-1`. */
export interface ProcessPlants {
  etcd?: (port: EtcdPort, process: string) => EtcdPort;
  client?: (client: KubeClient, process: string) => KubeClient;
  /** What managers call hooks by. */
  http?: (http: HttpCaller) => HttpCaller;
  coordination?: (coordination: Coordination, process: string) => Coordination;
}

export interface Surroundings {
  sim: SimClock;
  random: SeededRandom;
  api: SimApiServer;
  etcd: SimEtcd;
  etcdFaults: EtcdFaults;
  network: Network;
  desk: Desk;
  log: Logger;
  plants: ProcessPlants;
  /** A client of etcd and its process. */
  connected: (client: SimClient, process: string) => void;
  /** Undefined where the machine is nobody that a gateway knows. */
  identify: (machine: string) => Identity | undefined;
}

/** Milliseconds. */
const ETCD_LATENCY = 8;
/** An etcd client gives up after at most this long. */
const ETCD_DEADLINE = 3000;
const RESTART = [1000, 5000] as const;

/** One process that is started again whenever it ends. */
export abstract class SimProcess {
  readonly name: string;
  protected readonly around: Surroundings;
  protected readonly random: SeededRandom;
  /** Wall time is off by so many ms, from the next start on. */
  skew = 0;
  clock: ProcessClock | undefined;
  #etcd: SimClient | undefined;
  /** Nobody starts it again. */
  stopped = false;

  constructor(name: string, around: Surroundings) {
    this.name = name;
    this.around = around;
    this.random = around.random.fork();
  }

  start(): void {
    if (this.clock !== undefined || this.stopped) return;
    const { sim, etcd, plants, connected } = this.around;
    const clock = sim.process(this.skew);
    this.clock = clock;
    const client = etcd.connect(this.#link(clock), clock);
    this.#etcd = client;
    connected(client, this.name);
    this.run(clock, plants.etcd?.(client, this.name) ?? client);
  }

  protected abstract run(clock: ProcessClock, etcd: EtcdPort): void;

  /** SIGKILL. It comes back after `restartAfter` ms, by default after a few seconds. */
  kill(restartAfter = RESTART[0] + this.random.below(RESTART[1] - RESTART[0])): void {
    if (this.clock === undefined) return;
    this.clock.kill();
    this.clock = undefined;
    this.#etcd?.abandon();
    this.ended();
    this.around.sim.at(restartAfter, () => this.start());
  }

  protected ended(): void {}

  freeze(milliseconds: number): void {
    const { clock } = this;
    clock?.freeze();
    this.around.sim.at(milliseconds, () => clock?.thaw());
  }

  #link(clock: ProcessClock): SimLink {
    const { sim, etcdFaults } = this.around;
    const { random } = this;
    const wait = (most: number): Promise<void> =>
      new Promise((resolve) => clock.after(1 + random.below(most), resolve));
    return {
      send: async (): Promise<Fate> => {
        await wait(ETCD_LATENCY);
        if (!etcdFaults.down && !random.chance(etcdFaults.flaky)) return "ok";
        const fate: Fate = etcdFaults.down ? "lost" : random.pick(["lost", "late", "unanswered"]);
        if (fate !== "unanswered") await wait(ETCD_DEADLINE);
        return fate;
      },
      receive: () => wait(ETCD_LATENCY),
      later: () => new Promise((resolve) => sim.at(random.below(ETCD_DEADLINE), resolve)),
    };
  }
}

export class SimManager extends SimProcess {
  protected override run(clock: ProcessClock, etcd: EtcdPort): void {
    const { api, log, plants, desk } = this.around;
    const http = desk.caller(clock);
    const client = api.client(clock, this.name);
    const manager = createFleetManager({
      client: plants.client?.(client, this.name) ?? client,
      watches: api.watches(clock),
      etcd,
      http: plants.http?.(http) ?? http,
      clock,
      random: this.random.fork(),
      log: log.with({ process: this.name }),
      metrics: createMetrics(),
      namespace: NAMESPACE,
      identity: `${this.name}_${this.random.uuid()}`,
    });
    const over = (error?: unknown): void => {
      if (!clock.alive) return;
      log.error("the manager ended", error, { process: this.name });
      this.kill();
    };
    manager.start(new AbortController().signal).then(over, over);
  }
}

const meter: SessionMeter = {
  received: () => {},
  sent: () => {},
  commit: () => {},
  unavailable: () => {},
  ended: () => {},
};

/** What gateway.ts puts together, but for TLS, gRPC and tokens. */
export class SimGateway extends SimProcess {
  protected override run(clock: ProcessClock, etcd: EtcdPort): void {
    const { network, plants, identify, api } = this.around;
    const random = this.random.fork();
    const log = this.around.log.with({ process: this.name });
    const made = createCoordination({ etcd, clock, random, log });
    const coordination = plants.coordination?.(made, this.name) ?? made;
    const name = `${this.name}-${random.uuid().slice(0, 8)}`;
    const presence = new Presence({
      etcd,
      clock,
      random,
      log,
      unavailable: () => {},
      lost: () => table.endAll("PresenceLost"),
    });
    const view = new FleetView({
      coordination,
      clock,
      log,
      unavailable: () => {},
      onRead: (read) => table.apply(read),
    });
    const table = new SessionTable({
      gateway: name,
      coordination,
      lease: () => presence.lease,
      refresh: () => view.refresh(),
      clock,
      random,
      log,
      meter,
      limits: defaultSessionLimits,
    });
    const door: Doorway = {
      name: this.name,
      clock,
      accept: (machine, send, end): Stream | undefined => {
        const turnAway = (reason: "EtcdUnavailable" | "ApiUnavailable"): Stream => {
          send(goAway(reason, random));
          end();
          return { receive: () => {}, closed: () => {} };
        };
        if (table.lease === undefined) return turnAway("EtcdUnavailable");
        const identity = identify(machine);
        if (identity === undefined) return undefined;
        if (identity.machineId === undefined && api.faults.down) return turnAway("ApiUnavailable");
        const session = table.connect(identity, { send, end });
        return {
          receive: (request) => session.receive(request),
          closed: () => table.disconnected(session),
        };
      },
    };
    network.doors.set(this.name, door);
    presence.start();
    view.start();
  }

  protected override ended(): void {
    const { network } = this.around;
    network.doors.delete(this.name);
    network.break({ gateway: this.name }, true);
  }
}
