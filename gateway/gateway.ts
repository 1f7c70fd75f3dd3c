/** A gateway: the agents' server, the fleet view, the lease of presence, health and metrics, put together. */
import * as prom from "prom-client";
import type { Coordination } from "../coordination/coordination.ts";
import type { EtcdPort } from "../coordination/etcd.ts";
import { MachineView } from "../coordination/machine-view.ts";
import { type NamedCertificate, observeCertificates } from "../pki/certificate-expiry.ts";
import { MachineCredentials } from "../pki/machine-credentials.ts";
import type { Address } from "../ports/address.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { KubeClient } from "../runtime/client.ts";
import { type Check, type HealthServer, startHealth } from "../runtime/health.ts";
import type { RestClient } from "../runtime/rest-client.ts";
import { Authenticator } from "./agents/authenticate.ts";
import { Enrolment } from "./agents/join.ts";
import { AgentServer, defaultServerLimits, type ServerLimits } from "./agents/server.ts";
import { defaultSessionLimits, type SessionLimits } from "./agents/session.ts";
import { SessionTable } from "./agents/session-table.ts";
import { openCertificates } from "./certificate-files.ts";
import { Console, type ConsoleSettings } from "./console/console.ts";
import { CoreUpdateApi, type CoreUpdateSettings } from "./coreupdate/coreupdate.ts";
import type { TrustedProxies } from "./edge/client-address.ts";
import { type ClientAuthorities, parseClientAuthorities } from "./edge/client-authorities.ts";
import { type EdgeLimits, type EdgeServer, startEdge } from "./edge/server.ts";
import { type FleetRead, FleetView } from "./fleet-view.ts";
import { fleetLockRoute } from "./fleetlock/route.ts";
import { type FollowedFiles, followFile } from "./followed-files.ts";
import { Sightings } from "./machines/sightings.ts";
import { Totals } from "./machines/totals.ts";
import { createGatewayMetrics, type GatewayMetrics } from "./metrics.ts";
import { People } from "./objects/people.ts";
import { omahaRoute } from "./omaha/route.ts";
import { payloadRoute } from "./payloads/route.ts";
import type { PayloadSource } from "./payloads/source.ts";
import { Presence } from "./presence.ts";
import { Registry, type RegistrySettings } from "./registry/registry.ts";
import { SlotLine } from "./slots/line.ts";

export interface GatewayOptions {
  /** For TokenReview only. */
  client: Pick<KubeClient, "tokenReview">;
  etcd: Pick<EtcdPort, "lease">;
  coordination: Coordination;
  listen: Address;
  /** For machines without our agent; none where it is absent. */
  edge?: EdgeSettings;
  /** For people; none where it is absent. */
  console?: ConsoleListener;
  /** Proxies in front of both; none are believed where it is absent. */
  proxies?: TrustedProxies;
  /** Health and metrics; none where it is absent. */
  health?: Address;
  /** See `certificate-files.ts`. */
  certificateDirectory: string;
  /** DNS names and IP addresses under which agents reach us. */
  hosts: readonly string[];
  /** `namespace:name` of each service account that agents run as. */
  serviceAccounts: readonly string[];
  /** Audience of the agents' tokens. */
  audience: string;
  /** Certificates whose end the metrics tell too. */
  otherCertificates?: () => Iterable<NamedCertificate>;
  /** By name: what /readyz tells besides, whether it serves or not. */
  told?: ReadonlyMap<string, Check>;
  /** For people; made unique to this process. */
  name: string;
  clock: Clock;
  random: Random;
  log: Logger;
  sessionLimits?: Partial<SessionLimits>;
  serverLimits?: Partial<ServerLimits>;
  /** How long `stop` waits for connections, ms. */
  drainWithin?: number;
}

export interface EdgeSettings {
  /** For the view of machines without our agent. */
  etcd: EtcdPort;
  listen: Address;
  /** Whether it has the gateway's certificate; else what lies in front must protect the secrets. */
  tls: boolean;
  /** From which the secrets of groups are made; without one only groups are served that ask for none. */
  keys: readonly Buffer[];
  /** File of who signs certificates that machines may show in place of a secret; none is asked for where it is absent. */
  clientAuthorities?: string;
  /** etcd's v2 API; not served where it is absent. */
  registry?: RegistrySettings;
  /** Where the payloads lie that are served; none are where it is absent. */
  payloads?: readonly PayloadSource[];
  /** Base of the URLs under which machines reach this port, without a slash at its end. */
  publicUrl?: string;
  /** CoreUpdate's API; not served where it is absent. */
  coreupdate?: CoreUpdateSettings;
  limits?: Partial<EdgeLimits>;
}

export interface ConsoleListener extends ConsoleSettings {
  listen: Address;
  /** For the view of machines without our agent. */
  etcd: EtcdPort;
  /** Whether it has the gateway's certificate. */
  tls: boolean;
  /** Another than that of TokenReviews for agents: people must not take their turn. */
  client: Pick<RestClient, "apply" | "patch" | "get" | "watches" | "access">;
}

/** People are fewer than machines, and their pages keep a connection each. */
const CONSOLE_LIMITS: Partial<EdgeLimits> = { connections: 2000, requests: 200 };

export interface Gateway {
  port: number;
  consolePort: number | undefined;
  edgePort: number | undefined;
  /** Of the key space that is served without a secret. */
  registryPort: number | undefined;
  healthPort: number | undefined;
  metrics: GatewayMetrics;
  /** Agents that have a session here. */
  sessions(): number;
  /** Not ready, then GoAway to all, then the connections, then the lease. */
  stop(): Promise<void>;
}

const DRAIN_WITHIN = 10_000;

/** Resolves once agents can connect. Rejects where certificates or ports can't be had. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { client, etcd, coordination, clock, random, log } = options;
  const proxies = options.proxies === undefined ? {} : { proxies: options.proxies };
  const name = `${options.name}-${random.uuid().slice(0, 8)}`;
  let server: AgentServer | undefined;
  let edge: EdgeServer | undefined;
  let open: EdgeServer | undefined;
  let registry: Registry | undefined;
  let coreupdate: CoreUpdateApi | undefined;
  let clients: FollowedFiles<ClientAuthorities> | undefined;
  let desk: EdgeServer | undefined;
  const forPeople = options.console?.client ?? options.edge?.coreupdate?.client;
  const people = forPeople === undefined ? undefined : new People({ client: forPeople, clock, random, log });
  let read: FleetRead["fleet"] | undefined;
  const followed = options.edge?.etcd ?? options.console?.etcd;
  const machines = followed === undefined ? undefined : new MachineView({ etcd: followed, clock, log });
  const sightings = new Sightings({ coordination, clock, log });
  const page =
    options.console === undefined || people === undefined || machines === undefined
      ? undefined
      : new Console({ ...options.console, people, machines, coordination, clock, random, log });
  const line = new SlotLine({ coordination, clock, random });
  let stopping = false;
  const certificates = await openCertificates({
    directory: options.certificateDirectory,
    hosts: options.hosts,
    clock,
    random,
    log,
  });
  const totals =
    machines === undefined
      ? undefined
      : new Totals({ coordination, machines, gates: () => read?.groupGates, clock, log });
  const authority = () => certificates.current.authority;
  const metrics = createGatewayMetrics({
    versions: () => table.versions(),
    connections: () => server?.connections ?? 0,
    hasLease: () => presence.lease !== undefined,
    waiting: () => line.waiting,
    machines: () => machines?.counts ?? new Map(),
    spaces: () => registry?.fullness ?? [],
  });
  observeCertificates(prom, metrics.registry, () => [
    ["server", certificates.current.server.certificate],
    ["authority", authority().bundle],
    ...(options.otherCertificates?.() ?? []),
  ]);
  const presence = new Presence({
    etcd,
    clock,
    random,
    log,
    unavailable: () => metrics.unavailable("lease"),
    lost: () => table.endAll("PresenceLost"),
  });
  const view = new FleetView({
    coordination,
    clock,
    log,
    unavailable: () => metrics.unavailable("readFleet"),
    onRead: (one) => {
      read = one.fleet;
      table.apply(one);
      page?.onFleet(one.fleet);
    },
  });
  const table = new SessionTable({
    gateway: name,
    coordination,
    lease: () => presence.lease,
    refresh: () => view.refresh(),
    clock,
    random,
    log,
    meter: metrics,
    limits: { ...defaultSessionLimits, ...options.sessionLimits },
  });
  let health: HealthServer | undefined;
  /** Of what was begun: nothing is asked any more, then nothing is done. */
  const end = async (within: number): Promise<void> => {
    stopping = true;
    registry?.close();
    clients?.stop();
    await Promise.all([server?.stop(within), edge?.stop(within), open?.stop(within), desk?.stop(within)]);
    view.stop();
    sightings.stop();
    totals?.stop();
    await page?.stop();
    await coreupdate?.stop();
    await people?.objects.stop();
    machines?.stop();
    certificates.stop();
    await presence.stop();
    await health?.close();
  };
  try {
    if (options.health !== undefined) {
      health = await startHealth({
        ...options.health,
        live: new Map(),
        // Not etcd: an agent's boot check needs our TLS handshake, whether etcd answers or not.
        ready: new Map([["serving", () => (server === undefined || stopping ? "not serving" : undefined)]]),
        told: new Map([...(options.told ?? []), ["machines", () => machines?.wrong] as const]),
        registry: metrics.registry,
      });
    }
    server = await AgentServer.listen({
      listen: options.listen,
      certificates,
      authenticator: new Authenticator({
        client,
        audience: options.audience,
        serviceAccounts: options.serviceAccounts,
        authority,
        clock,
        log,
        reviewed: (seconds, outcome) => metrics.reviewed(seconds, outcome),
      }),
      enrolment: new Enrolment({ coordination, authority, log }),
      table,
      clock,
      random,
      log,
      metrics,
      limits: { ...defaultServerLimits, ...options.serverLimits },
    });
    if (options.edge !== undefined && machines !== undefined) {
      const { listen, tls, keys, clientAuthorities, payloads, publicUrl, limits } = options.edge;
      const credentials = new MachineCredentials(keys);
      if (clientAuthorities !== undefined)
        clients = await followFile({
          ...{ path: clientAuthorities, what: "authorities of machines", parse: parseClientAuthorities },
          ...{ clock, log },
        });
      const isOpen = (group: string): boolean => {
        const gate = read?.groupGates.get(group);
        return gate?.machines?.open === true && gate.validUntil > clock.now();
      };
      const door = { credentials, isOpen, log };
      const kept = options.edge.registry;
      if (kept !== undefined)
        registry = new Registry({
          ...{ ...kept, ...door, coordination, line, clock, random },
          meter: (call, outcome) => metrics.slotAsked("Locksmith", call, outcome),
        });
      if (options.edge.coreupdate !== undefined && people !== undefined && machines !== undefined) {
        const { etcd: store, coreupdate: asked } = options.edge;
        coreupdate = await CoreUpdateApi.open({
          ...{ ...asked, etcd: store, coordination, people, machines, gateway: name, clock, random, log },
          meter: (call, status) => metrics.coreUpdateAnswered(call, status),
        });
      }
      const routes = [
        fleetLockRoute({
          ...door,
          coordination,
          clock,
          line,
          meter: (call, outcome) => metrics.slotAsked("FleetLock", call, outcome),
        }),
        omahaRoute({
          ...{ ...door, coordination, clock, random },
          ...{ fleet: () => read, machines, sightings },
          ...(publicUrl === undefined ? {} : { publicUrl }),
          meter: (outcome) => metrics.omahaAnswered(outcome),
          unknown: (kind, count) => metrics.omahaUnknown(kind, count),
          ...(coreupdate === undefined ? {} : { counts: coreupdate.counts }),
        }),
        ...(payloads === undefined
          ? []
          : [
              payloadRoute({
                ...{ sources: payloads, clock, log },
                failed: (place) => metrics.payloadsFailed(place),
              }),
            ]),
        ...(registry?.routes({ secure: tls, open: false }) ?? []),
        ...(coreupdate?.routes() ?? []),
      ];
      const common = {
        ...{ clock, log, meter: metrics, ...proxies },
        ...(limits === undefined ? {} : { limits }),
      };
      edge = await startEdge({
        ...{ ...common, listen, routes },
        ...(tls ? { certificates, ...(clients === undefined ? {} : { clients }) } : {}),
      });
      if (registry !== undefined && kept?.plain !== undefined) {
        open = await startEdge({
          ...{ ...common, listen: kept.plain, routes: registry.routes({ secure: false, open: true }) },
        });
      }
    }
    if (options.console !== undefined && page !== undefined) {
      const { listen, tls } = options.console;
      desk = await startEdge({
        ...{ listen, routes: page.routes, clock, log, meter: metrics, limits: CONSOLE_LIMITS },
        ...proxies,
        ...(tls ? { certificates } : {}),
      });
    }
  } catch (error) {
    await end(0);
    throw error;
  }
  presence.start();
  view.start();
  people?.objects.start();
  page?.start();
  coreupdate?.start();
  machines?.start();
  const listening = server;
  log.info("the gateway listens", { gateway: name, port: listening.port, edge: edge?.port });

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await end(options.drainWithin ?? DRAIN_WITHIN);
    log.info("the gateway stopped", { gateway: name });
  };
  return {
    port: listening.port,
    edgePort: edge?.port,
    consolePort: desk?.port,
    registryPort: open?.port,
    healthPort: health?.port,
    metrics,
    sessions: () => table.size,
    stop: () => (stopped ??= stop()),
  };
}
