/**
 * The port that machines without our agent speak to, in protocols over HTTP: one listener, bounded, which reads a whole
 * request before it asks a route. Clients of these protocols are old, many and seldom authenticated by TLS; so the
 * listener may be plain (an ingress, or a network that is trusted, is in front) or have the gateway's certificate, and
 * then asks for one of theirs where an authority for them is named. Who shows none is served as before.
 */
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { KeyPair } from "../../pki/issuer.ts";
import type { MachineCertificate } from "../../pki/machine-credentials.ts";
import type { Address } from "../../ports/address.ts";
import { type Clock, stopwatch } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { CertificateFiles } from "../certificate-files.ts";
import type { FollowedFiles } from "../followed-files.ts";
import { TrustedProxies } from "./client-address.ts";
import type { ClientAuthorities } from "./client-authorities.ts";
import { ClientCertificates } from "./client-certificates.ts";
import { inPieces, sendPieces } from "./pieces.ts";

export interface EdgeRequest {
  method: string;
  /** Without the query, as it was sent. */
  path: string;
  query: URLSearchParams;
  /** The query as it was sent, without the question mark. */
  search: string;
  header(name: string): string | undefined;
  body: Buffer;
  /** Of a route that streams: the body as it comes, once; a client that sends no piece in time is cut off. */
  arriving(): AsyncIterable<Buffer>;
  /** Address of the client: of the peer, or what a trusted proxy says. */
  peer: string;
  /** That the client showed, if an authority for machines signed it and it is valid. */
  certificate?: MachineCertificate | undefined;
  /** Aborts when the client has gone. */
  gone: AbortSignal;
}

export interface EdgeAnswer {
  status: number;
  type?: string;
  /** Several values make several lines. */
  headers?: Readonly<Record<string, string | readonly string[]>>;
  body: string | Buffer;
  /**
   * What follows the body, as it comes: the headers are sent at once. It must end when `gone` of its request aborts. One
   * piece is asked for when the one before has left; where the headers have a length, it is all pieces' together.
   */
  pieces?: AsyncIterable<string | Uint8Array>;
}

/** A protocol of ours. What it throws is answered 500, and logged. */
export interface Route {
  /** Paths that are the prefix, or begin with it and a slash; empty for all that no other route has. */
  prefix: string;
  /** Most bytes of a body; more is answered 413. */
  maxBody: number;
  /** The body is not read before: the route bounds it, and takes it by `arriving`. */
  streams?: boolean;
  answer(request: EdgeRequest): Promise<EdgeAnswer>;
}

export interface EdgeLimits {
  /** Sockets at once. */
  connections: number;
  /** Requests that are read or answered at once; one more is answered 503, which tells clients of Omaha to ask half as often. */
  requests: number;
  /** For a whole request to arrive, ms; of one that streams, for its headers. */
  requestTimeout: number;
  headersTimeout: number;
  /** For a client to take one piece of an answer, or to send one of a body that streams, ms; whoever is slower is cut off. */
  pieceTimeout: number;
  /** Bytes a second that a body which streams must come with on the whole, beside one `pieceTimeout`. */
  slowest: number;
}

/** 100,000 machines that check every 45 min are 37 requests a second; each holds a socket for a moment. */
export const defaultEdgeLimits: EdgeLimits = {
  connections: 8000,
  requests: 4000,
  requestTimeout: 20_000,
  headersTimeout: 10_000,
  pieceTimeout: 60_000,
  // A release of 500 MiB may take the time of a night, and a byte a minute no place.
  slowest: 16 * 1024,
};

/** A session's cookie has 4 KiB at most, and a service account's token 2 KiB. */
const MAX_HEADER = 16 * 1024;
/** Clients of these protocols ask minutes apart: an idle connection is worth little, ms. */
const KEEP_ALIVE = 15_000;

export interface EdgeMeter {
  answered(route: string, status: number, seconds: number): void;
}

export interface EdgeOptions {
  listen: Address;
  /** Absent where the listener is plain. */
  certificates?: Pick<CertificateFiles, "current" | "onChange">;
  /** Who signs the certificates of clients; none is asked for where it is absent, or the listener is plain. */
  clients?: Pick<FollowedFiles<ClientAuthorities>, "current" | "onChange">;
  routes: readonly Route[];
  /** That say whom they stand in front of; none where it is absent. */
  proxies?: TrustedProxies;
  clock: Clock;
  log: Logger;
  meter: EdgeMeter;
  limits?: Partial<EdgeLimits>;
}

export interface EdgeServer {
  readonly port: number;
  /** No new connections; those that are there end when their request is answered, at the latest after `within` ms. */
  stop(within: number): Promise<void>;
}

/** Resolves once it listens; rejects where the port can't be had. */
export async function startEdge(options: EdgeOptions): Promise<EdgeServer> {
  const { listen, certificates, clients, clock } = options;
  const limits = { ...defaultEdgeLimits, ...options.limits };
  const { headersTimeout } = limits;
  const settings = {
    // Node.js has one for all requests, and a route that streams may take longer: bodies have a clock of ours.
    requestTimeout: 0,
    headersTimeout,
    keepAliveTimeout: KEEP_ALIVE,
    maxHeaderSize: MAX_HEADER,
  };
  const clientele = new ClientCertificates(certificates === undefined ? undefined : clients);
  const desk = new Desk(options, limits, clientele);
  const listener: RequestListener = (request, response) => void desk.serve(request, response);
  const context = ({ certificate, key }: KeyPair) => ({ cert: certificate, key, ...clientele.context });
  const tls = certificates?.current.server;
  const secure =
    tls === undefined
      ? undefined
      : createTlsServer({ ...settings, ...clientele.asking, ...context(tls) }, listener);
  const server = secure ?? createServer(settings, listener);
  const renew = (): void => {
    if (certificates !== undefined) secure?.setSecureContext(context(certificates.current.server));
  };
  const unwatch = [certificates?.onChange(renew), secure && clientele.follow(secure, renew)];
  server.maxConnections = limits.connections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(listen.port, listen.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop: async (within) => {
      for (const cancel of unwatch) cancel?.();
      desk.stop();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const cancel = clock.after(within, () => server.closeAllConnections());
      await closed;
      cancel();
    },
  };
}

class Desk {
  readonly #options: EdgeOptions;
  readonly #limits: EdgeLimits;
  readonly #stopping = new AbortController();
  readonly #proxies: TrustedProxies;
  readonly #clients: ClientCertificates;
  #busy = 0;

  constructor(options: EdgeOptions, limits: EdgeLimits, clients: ClientCertificates) {
    this.#options = options;
    this.#limits = limits;
    this.#clients = clients;
    this.#proxies = options.proxies ?? new TrustedProxies([]);
  }

  /** Whoever waits for an answer gets one now. */
  stop(): void {
    this.#stopping.abort();
  }

  async #bodyOf(request: IncomingMessage, most: number): Promise<Buffer | undefined> {
    const cancel = this.#options.clock.after(this.#limits.requestTimeout, () => request.destroy());
    try {
      return await readBody(request, most);
    } finally {
      cancel();
    }
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, log, meter, routes } = this.#options;
    const began = stopwatch();
    const [path, search] = split(request.url ?? "/");
    const route = routes.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`));
    const stopping = this.#stopping.signal;
    let answer: EdgeAnswer;
    this.#busy += 1;
    try {
      if (route === undefined) {
        answer = plain(
          404,
          `Nothing is served here. There are ${routes.map(({ prefix }) => prefix).join(", ")}.\n`,
        );
      } else if (this.#busy > this.#limits.requests || stopping.aborted) {
        answer = { ...plain(503, "Too many requests: ask again later.\n"), headers: { "retry-after": "60" } };
      } else {
        const body = route.streams === true ? Buffer.alloc(0) : await this.#bodyOf(request, route.maxBody);
        answer =
          body === undefined
            ? plain(413, `At most ${route.maxBody} bytes are read.\n`)
            : await route.answer(
                new Asked({
                  ...{ request, response, path, search, body, stopping, clock, proxies: this.#proxies },
                  ...{ limits: this.#limits, clients: this.#clients },
                }),
              );
      }
    } catch (error) {
      if (request.destroyed && !request.complete) return;
      log.error("can't answer a request", error, { route: route?.prefix ?? "" });
      answer = plain(500, "It can't be answered; the gateway's log says why.\n");
    } finally {
      this.#busy -= 1;
    }
    meter.answered(route?.prefix ?? "other", answer.status, (stopwatch() - began) / 1000);
    const sent = request.method === "HEAD" ? answer : inPieces(answer);
    const { pieces } = sent;
    if (pieces === undefined)
      send(request, response, sent, stopping.aborted || this.#clients.isStale(request.socket));
    else {
      const patience = { clock, pieceTimeout: this.#limits.pieceTimeout };
      const piecewise = { ...sent, headers: headersOf(sent), pieces };
      await sendPieces(response, piecewise, patience).catch((error: unknown) => {
        if (!response.closed && !stopping.aborted)
          log.error("an answer ended in the middle", error, { route: route?.prefix ?? "" });
        response.destroy();
      });
    }
  }
}

interface Arrived {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
  search: string;
  body: Buffer;
  stopping: AbortSignal;
  clock: Clock;
  limits: Pick<EdgeLimits, "pieceTimeout" | "slowest">;
  proxies: TrustedProxies;
  clients: ClientCertificates;
}

/** What few routes ask for is made when it is. */
class Asked implements EdgeRequest {
  readonly #arrived: Arrived;
  #gone: AbortSignal | undefined;

  constructor(arrived: Arrived) {
    this.#arrived = arrived;
  }

  get method(): string {
    return this.#arrived.request.method ?? "GET";
  }

  get path(): string {
    return this.#arrived.path;
  }

  get search(): string {
    return this.#arrived.search;
  }

  get query(): URLSearchParams {
    return new URLSearchParams(this.#arrived.search);
  }

  get body(): Buffer {
    return this.#arrived.body;
  }

  async *arriving(): AsyncGenerator<Buffer> {
    const { request, clock, limits } = this.#arrived;
    const { pieceTimeout, slowest } = limits;
    const until = clock.monotonic() + pieceTimeout;
    let received = 0;
    const cut = (): (() => void) => {
      const left = until + (received / slowest) * 1000 - clock.monotonic();
      return clock.after(Math.max(0, Math.min(pieceTimeout, left)), () => request.destroy());
    };
    let cancel = cut();
    try {
      // The socket is needed for the answer, also where not all was read.
      for await (const piece of request.iterator({ destroyOnReturn: false })) {
        cancel();
        received += (piece as Buffer).length;
        yield piece as Buffer;
        cancel = cut();
      }
    } finally {
      cancel();
    }
  }

  get peer(): string {
    const { request, proxies } = this.#arrived;
    return proxies.clientOf(request.socket.remoteAddress ?? "", this.header("x-forwarded-for"));
  }

  get certificate(): MachineCertificate | undefined {
    return this.#arrived.clients.of(this.#arrived.request.socket);
  }

  get gone(): AbortSignal {
    if (this.#gone === undefined) {
      const { response, stopping } = this.#arrived;
      const gone = new AbortController();
      if (response.closed) gone.abort();
      else response.once("close", () => gone.abort());
      this.#gone = AbortSignal.any([gone.signal, stopping]);
    }
    return this.#gone;
  }

  header(name: string): string | undefined {
    const value = this.#arrived.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }
}

/** Path and query. A client may send the whole URL (RFC 9112 section 3.2.2), as Google's old API clients do. */
function split(sent: string): [path: string, search: string] {
  const target = sent.startsWith("/") ? sent : sent.replace(/^https?:\/\/[^/?]*/i, "") || "/";
  const mark = target.indexOf("?");
  return mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark + 1)];
}

/** Undefined where it is longer than `most`; the rest is not read. Rejects where the client goes before it is whole. */
async function readBody(request: IncomingMessage, most: number): Promise<Buffer | undefined> {
  if (Number(request.headers["content-length"] ?? 0) > most) return undefined;
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= most) chunks.push(chunk);
      else {
        request.pause();
        resolve(undefined);
      }
    });
    request.once("end", () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    request.once("error", reject);
    request.once("close", () => {
      if (!request.complete) reject(new Error("the connection ended within a request"));
    });
  });
}

export function plain(status: number, body: string): EdgeAnswer {
  return { status, type: "text/plain; charset=utf-8", body };
}

function send(request: IncomingMessage, response: ServerResponse, answer: EdgeAnswer, last: boolean): void {
  // What was not read of a request would be taken for the next one.
  const close = last || !request.complete;
  const headers = headersOf(answer);
  if (!hasNoBody(answer)) headers["content-length"] ??= Buffer.byteLength(answer.body);
  if (close) headers["connection"] = "close";
  response.writeHead(answer.status, headers);
  response.end(request.method === "HEAD" ? "" : answer.body, close ? () => request.destroy() : undefined);
}

/** RFC 9110 sections 15.3.5 and 15.4.5. */
function hasNoBody({ status }: EdgeAnswer): boolean {
  return status === 204 || status === 304;
}

function headersOf(answer: EdgeAnswer): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = { "x-content-type-options": "nosniff", "cache-control": "no-store" };
  if (!hasNoBody(answer)) headers["content-type"] = answer.type ?? "text/plain; charset=utf-8";
  for (const [name, value] of Object.entries(answer.headers ?? {}))
    headers[name] = typeof value === "string" ? value : [...value];
  return headers;
}
