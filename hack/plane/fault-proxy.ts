/** A TCP proxy on the loopback interface that breaks connections the way networks do. */
import { connect, createServer, type Server, type Socket } from "node:net";

export interface FaultProxy {
  /** Where clients connect, on 127.0.0.1; stays the same. */
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** Sends RST on every open connection, both sides. */
  reset(): void;
  /** Passes no more bytes, in either direction, on open and new connections; nothing is lost. */
  stall(): void;
  resume(): void;
  /** Every byte comes so much later, both directions, from now on; 0 ends it. */
  delay(milliseconds: number): void;
  /** Lets the next `bytes` bytes pass to clients (all connections together), then resets the one that gets the last, mid-frame. Once. */
  cutAfter(bytes: number): void;
  /** New connections are refused (nobody listens); open ones stay. Awaitable: it holds once settled. */
  refuse(on: boolean): Promise<void>;
  /** Ends all connections and the proxy. */
  close(): Promise<void>;
}

/** Held back per direction before the sender is made to wait, bytes. */
const BUFFER_LIMIT = 1 << 20;

export async function startFaultProxy(target: { host?: string; port: number }): Promise<FaultProxy> {
  const proxy = new TcpProxy(target.host ?? "127.0.0.1", target.port);
  await proxy.listen();
  return proxy;
}

interface Faults {
  stalled: boolean;
  delay: number;
  /** Bytes that may still pass to clients; undefined without a limit. */
  budget: number | undefined;
}

class TcpProxy implements FaultProxy {
  #port = 0;
  readonly #target: { host: string; port: number };
  readonly #faults: Faults = { stalled: false, delay: 0, budget: undefined };
  readonly #links = new Set<Link>();
  #server: Server | undefined;
  #changing: Promise<void> = Promise.resolve();

  constructor(host: string, port: number) {
    this.#target = { host, port };
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#links.size;
  }

  listen(): Promise<void> {
    // Half-open connections are passed on as such: a client's FIN is no end of the answer.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
      const link = new Link(client, upstream, this.#faults, () => this.#links.delete(link));
      this.#links.add(link);
    });
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", () => {
        const address = server.address();
        if (address !== null && typeof address === "object") this.#port = address.port;
        resolve();
      });
    });
  }

  reset(): void {
    for (const link of this.#links) link.reset();
  }

  stall(): void {
    this.#faults.stalled = true;
  }

  resume(): void {
    this.#faults.stalled = false;
    for (const link of this.#links) link.flow();
  }

  delay(milliseconds: number): void {
    this.#faults.delay = milliseconds;
  }

  cutAfter(bytes: number): void {
    this.#faults.budget = bytes;
  }

  refuse(on: boolean): Promise<void> {
    this.#changing = this.#change(this.#changing, on);
    return this.#changing;
  }

  async #change(before: Promise<void>, refusing: boolean): Promise<void> {
    await before;
    if (refusing) {
      this.#server?.close();
      this.#server = undefined;
    } else if (this.#server === undefined) {
      await this.listen();
    }
  }

  async close(): Promise<void> {
    await this.refuse(true);
    this.reset();
  }
}

/** One client's connection and ours to the target. */
class Link {
  readonly #sockets: readonly [Socket, Socket];
  readonly #lanes: readonly [Lane, Lane];
  readonly #onEnd: () => void;

  constructor(client: Socket, upstream: Socket, faults: Faults, onEnd: () => void) {
    this.#sockets = [client, upstream];
    this.#onEnd = onEnd;
    const cut = (): void => this.reset();
    this.#lanes = [new Lane(client, upstream, faults, undefined), new Lane(upstream, client, faults, cut)];
    let open = 2;
    for (const socket of this.#sockets) {
      socket.on("error", () => this.reset());
      socket.once("close", () => {
        open--;
        if (open === 0) onEnd();
      });
    }
  }

  flow(): void {
    for (const lane of this.#lanes) lane.flow();
  }

  reset(): void {
    for (const lane of this.#lanes) lane.end();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#onEnd();
  }
}

/** One direction of a link: a queue of chunks with the time at which each may leave. */
class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #faults: Faults;
  readonly #cut: (() => void) | undefined;
  readonly #queue: { due: number; bytes: Buffer | "end" }[] = [];
  #held = 0;
  #timer: NodeJS.Timeout | undefined;
  #blocked = false;

  /** `cut` is given for the direction that `cutAfter` counts. */
  constructor(from: Socket, to: Socket, faults: Faults, cut: (() => void) | undefined) {
    this.#from = from;
    this.#to = to;
    this.#faults = faults;
    this.#cut = cut;
    from.on("data", (chunk) => {
      const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
      this.#queue.push({ due: performance.now() + faults.delay, bytes });
      this.#held += bytes.length;
      if (this.#held > BUFFER_LIMIT) from.pause();
      this.flow();
    });
    from.once("end", () => {
      this.#queue.push({ due: performance.now() + faults.delay, bytes: "end" });
      this.flow();
    });
    to.on("drain", () => {
      this.#blocked = false;
      this.flow();
    });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#queue.length = 0;
  }

  flow(): void {
    clearTimeout(this.#timer);
    for (;;) {
      const next = this.#queue[0];
      if (next === undefined || this.#faults.stalled || this.#blocked) return;
      const wait = next.due - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.flow(), Math.ceil(wait));
        return;
      }
      this.#queue.shift();
      if (next.bytes === "end") {
        this.#to.end();
        return;
      }
      this.#held -= next.bytes.length;
      if (this.#held <= BUFFER_LIMIT / 2) this.#from.resume();
      if (!this.#pass(next.bytes)) return;
    }
  }

  /** False when the connection was cut. */
  #pass(bytes: Buffer): boolean {
    const { budget } = this.#faults;
    if (this.#cut !== undefined && budget !== undefined) {
      if (bytes.length >= budget) {
        this.#faults.budget = undefined;
        const cut = this.#cut;
        this.#to.write(bytes.subarray(0, budget), () => cut());
        this.end();
        this.#from.pause();
        return false;
      }
      this.#faults.budget = budget - bytes.length;
    }
    this.#blocked = !this.#to.write(bytes);
    return true;
  }
}
