/**
 * The connections of the agents' port. One that carries a session is an agent's, and of
 * those there is one for each identity. Any other is a stranger's, whatever it says: it has
 * a deadline, and counts against its network, so that peers without credentials keep
 * out nobody but their neighbours.
 */
import type { Cancel, Clock } from "../../ports/clock.ts";
import { networkOf } from "./address-buckets.ts";

export interface ConnectionLimits {
  maxConnections: number;
  strangersPerNetwork: number;
  /** ms. */
  sessionWithin: number;
}

/** What is used of a `net.Socket`. */
export interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  destroy(): unknown;
  on(event: "close", listener: () => void): unknown;
}

interface Entry {
  socket: Peer;
  network: string;
  sessions: number;
  /** Cancels the stranger's deadline. */
  deadline: Cancel;
}

export class Connections {
  readonly #clock: Clock;
  readonly #limits: ConnectionLimits;
  readonly #turnedAway: (reason: "Connections" | "Network" | "Silent") => void;
  /** By remote address and port, as grpc-js's `getPeer` gives them. */
  readonly #entries = new Map<string, Entry>();
  /** Strangers of each network that has any. */
  readonly #strangers = new Map<string, number>();

  constructor(
    clock: Clock,
    limits: ConnectionLimits,
    turnedAway: (reason: "Connections" | "Network" | "Silent") => void,
  ) {
    this.#clock = clock;
    this.#limits = limits;
    this.#turnedAway = turnedAway;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** False where it was cut off at once. */
  accept(socket: Peer): boolean {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    const network = networkOf(peer);
    const full =
      this.#entries.size >= this.#limits.maxConnections
        ? "Connections"
        : (this.#strangers.get(network) ?? 0) >= this.#limits.strangersPerNetwork
          ? "Network"
          : undefined;
    if (full !== undefined) {
      this.#turnedAway(full);
      socket.destroy();
      return false;
    }
    const entry: Entry = { socket, network, sessions: 0, deadline: () => {} };
    this.#entries.set(peer, entry);
    this.#estrange(entry);
    socket.on("close", () => {
      if (entry.sessions === 0) this.#befriend(entry);
      // A connection that lost its peer counts no more, whatever becomes of its sessions.
      entry.sessions = Infinity;
      if (this.#entries.get(peer) === entry) this.#entries.delete(peer);
    });
    return true;
  }

  /** The connection of `peer` carries a session until the answer is called. */
  hold(peer: string): () => void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return () => {};
    if (entry.sessions === 0) this.#befriend(entry);
    entry.sessions += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      entry.sessions -= 1;
      if (entry.sessions === 0) this.#estrange(entry);
    };
  }

  cut(peer: string): void {
    this.#entries.get(peer)?.socket.destroy();
  }

  cutAll(): void {
    for (const { socket } of this.#entries.values()) socket.destroy();
  }

  #estrange(entry: Entry): void {
    this.#strangers.set(entry.network, (this.#strangers.get(entry.network) ?? 0) + 1);
    entry.deadline = this.#clock.after(this.#limits.sessionWithin, () => {
      this.#turnedAway("Silent");
      entry.socket.destroy();
    });
  }

  #befriend(entry: Entry): void {
    entry.deadline();
    const others = (this.#strangers.get(entry.network) ?? 1) - 1;
    if (others === 0) this.#strangers.delete(entry.network);
    else this.#strangers.set(entry.network, others);
  }
}
