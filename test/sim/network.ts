/**
 * What lies between agents and gateways. Messages of one connection keep their order and
 * take a while; those of two don't. A broken connection loses what is on its way, or
 * delivers it late, and each end learns of it in its own time.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Connection, Transport, TransportHandlers } from "../../agent/transport.ts";
import {
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
  SessionResponseSchema,
} from "../../proto/gen/agent_pb.ts";
import type { ProcessClock, SimClock } from "./clock.ts";
import type { SeededRandom } from "./random.ts";

/** The gateway's end of a connection. */
export interface Stream {
  receive(request: SessionRequest): void;
  closed(): void;
}

export interface Doorway {
  readonly name: string;
  readonly clock: ProcessClock;
  /** Undefined where the peer is refused. */
  accept(machine: string, send: (response: SessionResponse) => void, end: () => void): Stream | undefined;
}

/** Milliseconds. */
const LATENCY = 25;
const CONNECT_TIMEOUT = 8000;
const AGENT_NOTICES = 15_000;
const GATEWAY_NOTICES = 30_000;

export class Network {
  readonly #sim: SimClock;
  readonly #random: SeededRandom;
  readonly #wires = new Set<Wire>();
  /** Machines that reach no gateway. */
  readonly isolated = new Set<string>();
  /** Gateways by name; a dead one is absent. */
  readonly doors = new Map<string, Doorway>();
  #turn = 0;

  constructor(sim: SimClock, random: SeededRandom) {
    this.#sim = sim;
    this.#random = random;
  }

  /** How an agent of `machine`, a process on `clock`, reaches gateways. */
  transport(machine: string, clock: ProcessClock): Transport {
    return {
      connect: (handlers) => {
        const doors = [...this.doors.values()];
        const door = doors[this.#turn++ % Math.max(1, doors.length)];
        const wire = new Wire({
          sim: this.#sim,
          random: this.#random,
          machine,
          clock,
          handlers,
          over: () => this.#wires.delete(wire),
        });
        this.#wires.add(wire);
        if (door === undefined) wire.fail(this.#random.below(200));
        else if (this.isolated.has(machine)) wire.fail(CONNECT_TIMEOUT);
        else wire.open(door);
        return wire.connection;
      },
    };
  }

  /** Breaks connections: of a machine, of a gateway, or all. `abrupt`: the ends learn of it at once. */
  break(which: { machine?: string; gateway?: string }, abrupt: boolean): void {
    for (const wire of this.#wires) {
      const { machine = wire.machine, gateway = wire.gateway } = which;
      if (wire.machine === machine && wire.gateway === gateway) wire.break(abrupt);
    }
  }
}

interface WireOptions {
  sim: SimClock;
  random: SeededRandom;
  machine: string;
  clock: ProcessClock;
  handlers: TransportHandlers;
  over: () => void;
}

class Wire {
  readonly machine: string;
  readonly connection: Connection;
  readonly #options: WireOptions;
  #door: Doorway | undefined;
  #stream: Stream | undefined;
  #early: SessionRequest[] = [];
  #agentOpen = true;
  #gatewayOpen = true;
  #broken = false;
  #lastUp = 0;
  #lastDown = 0;

  constructor(options: WireOptions) {
    this.#options = options;
    this.machine = options.machine;
    this.connection = {
      send: (request) => this.#up(toBinary(SessionRequestSchema, request)),
      close: () => {
        const { random } = this.#options;
        this.#endGateway(1 + random.below(LATENCY));
        this.#endAgent(0, "closed");
      },
    };
  }

  get gateway(): string | undefined {
    return this.#door?.name;
  }

  /** No connection comes to be. */
  fail(after: number): void {
    this.#gatewayOpen = false;
    this.#endAgent(after, "refused");
  }

  open(door: Doorway): void {
    this.#door = door;
    door.clock.after(this.#latency(), () => {
      if (!this.#gatewayOpen || this.#broken) return;
      this.#stream = door.accept(
        this.machine,
        (response) => this.#down(toBinary(SessionResponseSchema, response)),
        () => {
          this.#gatewayOpen = false;
          this.#endAgent(Math.max(0, this.#lastDown - this.#options.sim.time) + LATENCY, "ended");
        },
      );
      if (this.#stream === undefined) {
        this.#gatewayOpen = false;
        this.#endAgent(this.#latency(), "refused");
        return;
      }
      this.#toAgent(() => this.#options.handlers.handshake());
      for (const request of this.#early.splice(0)) this.#stream.receive(request);
    });
  }

  break(abrupt: boolean): void {
    if (this.#broken) return;
    this.#broken = true;
    const { random } = this.#options;
    this.#endAgent(abrupt ? random.below(100) : random.below(AGENT_NOTICES), "broken");
    this.#endGateway(abrupt ? random.below(100) : random.below(GATEWAY_NOTICES));
  }

  #latency(): number {
    const { random } = this.#options;
    // Of what was on its way when the connection broke some arrives late.
    return 1 + random.below(this.#broken ? 5000 : LATENCY);
  }

  #lost(): boolean {
    return this.#broken && this.#options.random.chance(0.5);
  }

  #up(bytes: Uint8Array): void {
    const door = this.#door;
    if (door === undefined || !this.#agentOpen || this.#lost()) return;
    const { sim } = this.#options;
    this.#lastUp = Math.max(this.#lastUp, sim.time + this.#latency());
    door.clock.after(this.#lastUp - sim.time, () => {
      if (!this.#gatewayOpen || this.#lost()) return;
      const request = fromBinary(SessionRequestSchema, bytes);
      if (this.#stream === undefined) this.#early.push(request);
      else this.#stream.receive(request);
    });
  }

  #down(bytes: Uint8Array): void {
    if (this.#lost()) return;
    this.#toAgent(() => this.#options.handlers.message(fromBinary(SessionResponseSchema, bytes)));
  }

  #toAgent(deliver: () => void): void {
    const { sim, clock } = this.#options;
    this.#lastDown = Math.max(this.#lastDown, sim.time + this.#latency());
    clock.after(this.#lastDown - sim.time, () => {
      if (this.#agentOpen && !this.#lost()) deliver();
    });
  }

  #endAgent(after: number, cause: string): void {
    const { clock, handlers } = this.#options;
    const end = (): void => {
      if (!this.#agentOpen) return;
      this.#agentOpen = false;
      this.#finish();
      handlers.closed(cause);
    };
    if (after === 0) queueMicrotask(end);
    else clock.after(after, end);
  }

  #endGateway(after: number): void {
    const door = this.#door;
    if (door === undefined) this.#gatewayOpen = false;
    else {
      door.clock.after(after, () => {
        if (!this.#gatewayOpen) return;
        this.#gatewayOpen = false;
        this.#finish();
        this.#stream?.closed();
      });
    }
  }

  #finish(): void {
    if (!this.#agentOpen && !this.#gatewayOpen) this.#options.over();
  }
}
