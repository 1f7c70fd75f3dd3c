/** What a gateway tells Prometheus. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { SessionMeter } from "./agents/session.ts";

export interface GatewayMetrics extends SessionMeter {
  readonly registry: Registry;
  reviewed(seconds: number, outcome: "accepted" | "refused" | "unavailable"): void;
  /** A stream or a call that was turned away before it had a session. */
  turnedAway(reason: string): void;
  enrolled(call: "join" | "renew", outcome: "issued" | "refused" | "unavailable"): void;
}

/** `read` is asked at each scrape. */
export function createGatewayMetrics(read: {
  sessions: () => number;
  connections: () => number;
  hasLease: () => boolean;
}): GatewayMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const gauge = (name: string, help: string, value: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });

  gauge("slipway_gateway_sessions", "Agents that have a session here.", read.sessions);
  gauge("slipway_gateway_connections", "Open connections, with or without a session.", read.connections);
  gauge("slipway_gateway_presence_lease", "1 while the lease of our agents' presence lives.", () =>
    read.hasLease() ? 1 : 0,
  );
  const messages = counter("slipway_gateway_messages_total", "Messages of sessions.", ["direction", "kind"]);
  const commits = counter("slipway_gateway_commits_total", "Commits that were answered.", [
    "answer",
    "reason",
  ]);
  const ended = counter("slipway_gateway_sessions_ended_total", "Sessions that ended.", ["reason"]);
  const away = counter("slipway_gateway_turned_away_total", "Streams and calls turned away at the door.", [
    "reason",
  ]);
  const unavailable = counter("slipway_gateway_etcd_unavailable_total", "Calls that etcd did not answer.", [
    "call",
  ]);
  const enrolled = counter("slipway_gateway_certificates_total", "Certificate requests of machines.", [
    "call",
    "outcome",
  ]);
  const reviews = new Histogram({
    name: "slipway_gateway_token_review_seconds",
    help: "Length of a TokenReview.",
    labelNames: ["outcome"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });

  return {
    registry,
    received: (kind) => messages.inc({ direction: "received", kind }),
    sent: (kind) => messages.inc({ direction: "sent", kind }),
    commit: (answer, reason) => commits.inc({ answer, reason }),
    unavailable: (call) => unavailable.inc({ call }),
    ended: (reason) => ended.inc({ reason }),
    reviewed: (seconds, outcome) => reviews.observe({ outcome }, seconds),
    turnedAway: (reason) => away.inc({ reason }),
    enrolled: (call, outcome) => enrolled.inc({ call, outcome }),
  };
}
