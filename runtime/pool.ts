/**
 * Connections to the API server: one HTTP/2 connection for calls and one for watches, so
 * that a flood of events never delays the renewal of a Lease. New credentials, or a
 * connection that stopped answering, get a new pair; the old one drains.
 */
import { Agent } from "undici";
import type { Clock } from "../ports/clock.ts";
import type { Credentials } from "./kubeconfig.ts";

export type Lane = "calls" | "watches";

/** A PING this often keeps the flow in NAT tables and load balancers; client-go's default health check is 30 s. */
const PING_INTERVAL = 10_000;
/** The API server closes an idle HTTP/2 connection after 90 s; we do it first. */
const IDLE_TIMEOUT = 60_000;
/** A server without HTTP/2 needs a connection for each call under way, and for each watch. */
const CONNECTIONS = { calls: 8, watches: 32 } as const;
/** The longest a watch lasts (480 s) and some time on top. */
const DRAIN_DEADLINE = 600_000;
const CONNECT_TIMEOUT = 10_000;
/** A page of 500 objects stays far below. */
const MAX_RESPONSE = 256 * 1024 * 1024;

export class Pool {
  readonly #clock: Clock;
  #fingerprint = "";
  #agents = new Map<Lane, Agent>();
  readonly #draining = new Map<Agent, () => void>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The agent for `lane`, made for these credentials. */
  agent(lane: Lane, credentials: Credentials): Agent {
    if (this.#closed) throw new Error("The client is closed");
    if (credentials.fingerprint !== this.#fingerprint) {
      this.#fingerprint = credentials.fingerprint;
      for (const agent of this.#agents.values()) this.#drain(agent);
      this.#agents.clear();
    }
    const known = this.#agents.get(lane);
    if (known !== undefined) return known;
    const agent = connectWith(credentials, lane);
    this.#agents.set(lane, agent);
    return agent;
  }

  /** `agent` left a call without an answer: nothing new goes over its connection. */
  suspect(agent: Agent): void {
    for (const [lane, known] of this.#agents) {
      if (known !== agent) continue;
      this.#agents.delete(lane);
      this.#drain(agent);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const agents = [...this.#agents.values(), ...this.#draining.keys()];
    for (const cancel of this.#draining.values()) cancel();
    this.#agents.clear();
    this.#draining.clear();
    await Promise.all(agents.map((agent) => agent.destroy()));
  }

  #drain(agent: Agent): void {
    const end = (): void => {
      this.#draining.get(agent)?.();
      this.#draining.delete(agent);
    };
    this.#draining.set(
      agent,
      this.#clock.after(DRAIN_DEADLINE, () => {
        this.#draining.delete(agent);
        agent.destroy().catch(() => {});
      }),
    );
    agent.close().then(end, end);
  }
}

function connectWith({ ca, cert, key, servername, verify }: Credentials, lane: Lane): Agent {
  return new Agent({
    allowH2: true,
    h2Options: { pingInterval: PING_INTERVAL },
    connections: CONNECTIONS[lane],
    keepAliveTimeout: IDLE_TIMEOUT,
    connectTimeout: CONNECT_TIMEOUT,
    bodyTimeout: 0,
    ...(lane === "calls" ? { maxResponseSize: MAX_RESPONSE } : {}),
    connect: {
      rejectUnauthorized: verify,
      keepAlive: true,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
    },
  });
}
