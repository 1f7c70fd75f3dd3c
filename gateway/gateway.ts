/** A gateway: the agents' server, the fleet view, the lease of presence, health and metrics, put together. */
import * as prom from "prom-client";
import type { Coordination } from "../coordination/coordination.ts";
import type { EtcdPort } from "../coordination/etcd.ts";
import { type NamedCertificate, observeCertificates } from "../pki/certificate-expiry.ts";
import type { Address } from "../ports/address.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { KubeClient } from "../runtime/client.ts";
import { type Check, type HealthServer, startHealth } from "../runtime/health.ts";
import { Authenticator } from "./agents/authenticate.ts";
import { Enrolment } from "./agents/join.ts";
import { AgentServer, defaultServerLimits, type ServerLimits } from "./agents/server.ts";
import { defaultSessionLimits, type SessionLimits } from "./agents/session.ts";
import { SessionTable } from "./agents/session-table.ts";
import { CertificateFiles } from "./certificate-files.ts";
import { FleetView } from "./fleet-view.ts";
import { createGatewayMetrics, type GatewayMetrics } from "./metrics.ts";
import { Presence } from "./presence.ts";

export interface GatewayOptions {
  /** For TokenReview only. */
  client: Pick<KubeClient, "tokenReview">;
  etcd: Pick<EtcdPort, "lease">;
  coordination: Coordination;
  listen: Address;
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

export interface Gateway {
  port: number;
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
  const name = `${options.name}-${random.uuid().slice(0, 8)}`;
  let server: AgentServer | undefined;
  let stopping = false;
  const certificates = await CertificateFiles.open({
    directory: options.certificateDirectory,
    hosts: options.hosts,
    clock,
    random,
    log,
  });
  const authority = () => certificates.current.authority;
  const metrics = createGatewayMetrics({
    versions: () => table.versions(),
    connections: () => server?.connections ?? 0,
    hasLease: () => presence.lease !== undefined,
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
    meter: metrics,
    limits: { ...defaultSessionLimits, ...options.sessionLimits },
  });
  let health: HealthServer | undefined;
  try {
    if (options.health !== undefined) {
      health = await startHealth({
        ...options.health,
        live: new Map(),
        // Not etcd: an agent's boot check needs our TLS handshake, whether etcd answers or not.
        ready: new Map([["serving", () => (server === undefined || stopping ? "not serving" : undefined)]]),
        ...(options.told === undefined ? {} : { told: options.told }),
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
  } catch (error) {
    certificates.stop();
    await health?.close();
    throw error;
  }
  presence.start();
  view.start();
  const listening = server;
  log.info("the gateway listens", { gateway: name, port: listening.port });

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    stopping = true;
    await listening.stop(options.drainWithin ?? DRAIN_WITHIN);
    view.stop();
    certificates.stop();
    await presence.stop();
    await health?.close();
    log.info("the gateway stopped", { gateway: name });
  };
  return {
    port: listening.port,
    healthPort: health?.port,
    metrics,
    sessions: () => table.size,
    stop: () => (stopped ??= stop()),
  };
}
