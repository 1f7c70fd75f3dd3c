/**
 * etcd's v2 API over HTTP, for clients that were written for it. A client knows endpoints, which are URLs, and sends a
 * user and a password if it has them. Go's client/v2 (and with it etcdctl, locksmithctl and fleet) keeps the path of an
 * endpoint and puts `/v2/keys` behind it, so there are four ways to a key space:
 *
 * - `http://HOST:PORT/registry/SECRET`: for every client that takes a URL;
 * - `http://HOST:PORT` with basic authentication, user = space, password = its secret: `etcdctl --username`;
 * - `https://HOST:PORT` with a client certificate that names `registry/SPACE`: `-etcd-certfile` of locksmith and fleet;
 * - a listener of its own without any, for one space, where the network is what protects it.
 *
 * etcdctl asks `/v2/members` first and then speaks only to the URLs that it finds there: they are the one that it came
 * by. Whoever knows the secret of a space reads and writes all of it; semaphores of locksmith (`semaphore.ts`) it may
 * change for every group that gives slots to machines, on a listener without secrets only for those that are open.
 */
import { createHash } from "node:crypto";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { RegistryEvent } from "../../coordination/registry.ts";
import type { ShownCredentials } from "../../pki/machine-credentials.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { type EdgeAnswer, type EdgeRequest, plain, type Route } from "../edge/server.ts";
import { beyondLimit, V2Error } from "./errors.ts";
import { groupOf, type SemaphoreOptions, serveSemaphore } from "./semaphore.ts";
import type { Space } from "./space.ts";
import {
  type Ask,
  cleanPath,
  errorAnswer,
  eventAnswer,
  eventText,
  headersOf,
  KEYS,
  MAX_BODY,
  nodeAnswer,
  type Place,
  parseRequest,
} from "./wire.ts";

const PREFIX = "/registry";
/** The version whose answers these are: clients look whether there is a v2 API in it. */
const VERSION = { etcdserver: "3.4.23", etcdcluster: "3.4.0" };
/** After so long without an event a poll ends, ms, as in etcd: clients ask again. */
const POLL = 300_000;

export interface RegistryOptions {
  /** By name. */
  spaces: ReadonlyMap<string, Space>;
  /** Whether `shown` is good for the space. */
  accepts: (space: string, shown: ShownCredentials) => boolean;
  /** The space that is served without any secret: for a listener of its own. */
  open?: string;
  /** Whether machines of a group need show nothing. */
  isOpen: (group: string) => boolean;
  semaphores: SemaphoreOptions;
  /** Whether clients reach the listener by TLS. */
  secure: boolean;
  clock: Clock;
  log: Logger;
}

/** A request whose space is known. */
interface Visit {
  space: Space;
  /** What lies before `/v2`. */
  base: string;
  /** What follows it. */
  path: string;
  /** Without a secret. */
  open: boolean;
}

/** The routes of one listener. */
export function registryRoutes(options: RegistryOptions): Route[] {
  const route = (prefix: string): Route => ({
    prefix,
    maxBody: MAX_BODY,
    answer: (request) => serve(options, request),
  });
  return [PREFIX, "/v2", "/version"].map(route);
}

async function serve(options: RegistryOptions, request: EdgeRequest): Promise<EdgeAnswer> {
  const visit = visitOf(options, request);
  if (visit === undefined) {
    const denied = errorAnswer(new V2Error(110, "Insufficient credentials", 0), undefined);
    return { ...denied, headers: { ...denied.headers, "www-authenticate": 'Basic realm="etcd"' } };
  }
  const { path, base } = visit;
  if (path === KEYS || path.startsWith(`${KEYS}/`)) return keys(options, request, visit);
  const read = request.method === "GET" || request.method === "HEAD";
  if (path === "/version") return read ? json(VERSION) : notAllowed("GET, HEAD");
  const url = `${options.secure ? "https" : "http"}://${request.header("host") ?? "localhost"}${base}`;
  if (path === "/v2/machines") return read ? plain(200, url) : notAllowed("GET, HEAD");
  if (path === "/v2/members" || path === "/v2/members/") {
    if (request.method !== "GET") return notAllowed("GET");
    const id = clusterOf((await visit.space.head().catch(() => ({ id: visit.space.name }))).id);
    return json({ members: [{ id, name: "slipway", peerURLs: [], clientURLs: [url] }] });
  }
  return plain(404, "404 page not found\n");
}

function visitOf({ spaces, accepts, open }: RegistryOptions, request: EdgeRequest): Visit | undefined {
  const find = (name: string | undefined, base: string, path: string, bare: boolean): Visit | undefined => {
    const space = name === undefined ? undefined : spaces.get(name);
    return space && { space, base, path, open: bare };
  };
  const [, shown, rest = ""] = /^\/registry\/([^/]{1,128})(\/.*)?$/.exec(request.path) ?? [];
  if (shown !== undefined) {
    const name = [...spaces.keys()].find((space) => accepts(space, { secret: shown }));
    return find(name, `${PREFIX}/${shown}`, rest, false);
  }
  if (request.path === PREFIX) return undefined;
  if (open !== undefined) return find(open, "", request.path, true);
  const encoded = /^Basic ([\w+/=-]{1,1024})$/i.exec(request.header("authorization") ?? "")?.[1] ?? "";
  const [user = "", ...password] = Buffer.from(encoded, "base64").toString().split(":");
  const { certificate } = request;
  if (user !== "")
    return accepts(user, { secret: password.join(":"), certificate })
      ? find(user, "", request.path, false)
      : undefined;
  const named = [...spaces.keys()].filter((space) => accepts(space, { certificate }));
  // Of several the user says which.
  return find(named.length === 1 ? named[0] : undefined, "", request.path, false);
}

async function keys(options: RegistryOptions, request: EdgeRequest, visit: Visit): Promise<EdgeAnswer> {
  const { method } = request;
  const moved = movedTo(visit, request.search);
  if (moved !== undefined) return moved;
  if (!["HEAD", "GET", "PUT", "POST", "DELETE"].includes(method))
    return notAllowed("HEAD,GET,PUT,POST,DELETE");
  const { space } = visit;
  let cluster: string | undefined;
  try {
    const head = await space.head();
    cluster = clusterOf(head.id);
    const ask = parseRequest(
      {
        ...{ method, key: visit.path.slice(KEYS.length), query: request.search, body: request.body },
        contentType: request.header("content-type"),
      },
      options.clock.now(),
    );
    const path = ask.kind === "write" ? ask.command.path : ask.path;
    const group = groupOf(path);
    const place = (at: { index: number; modRevision: number }): Place => ({
      ...{ cluster: clusterOf(head.id), index: at.index, revision: at.modRevision },
    });
    if (group !== undefined) return await semaphore(options, visit, ask, path, group, place(head));
    if (ask.kind === "get") {
      const found = await space.read(path, ask);
      return nodeAnswer(found.node, place(found.head));
    }
    if (ask.kind === "watch") return await poll(options, request, space, ask, place);
    const written = await space.write(ask.command);
    return eventAnswer(written.event, place({ ...written.head, index: written.event.index }), ask.brief);
  } catch (error) {
    if (error instanceof V2Error) return errorAnswer(error, cluster);
    if (!(error instanceof EtcdUnavailable)) throw error;
    options.log.error("etcd gives no answer to a client of its v2 API", error, { space: space.name });
    return errorAnswer(new V2Error(300, "etcdserver: request timed out", 0), cluster);
  }
}

async function semaphore(
  options: RegistryOptions,
  { open }: Visit,
  ask: Ask,
  path: string,
  group: string,
  place: Place,
): Promise<EdgeAnswer> {
  if (open && ask.kind === "write" && !options.isOpen(group)) {
    throw beyondLimit(`group ${group} asks for a secret: use an endpoint that has one`, 0);
  }
  const answer = await serveSemaphore(options.semaphores, ask, path, group);
  return "action" in answer ? eventAnswer(answer, place, false) : nodeAnswer(answer, place);
}

/** The headers come at once, the event when there is one; a poll that ends without any has no body, and clients ask again. */
async function poll(
  { clock }: RegistryOptions,
  request: EdgeRequest,
  space: Space,
  ask: Extract<Ask, { kind: "watch" }>,
  place: (at: { index: number; modRevision: number }) => Place,
): Promise<EdgeAnswer> {
  const over = new AbortController();
  const cancel = clock.after(POLL, () => over.abort());
  try {
    const { head, events } = await space.watch(ask, AbortSignal.any([request.gone, over.signal]));
    const pieces = lines(events, cancel);
    return { status: 200, type: "application/json", headers: headersOf(place(head)), body: "", pieces };
  } catch (error) {
    cancel();
    throw error;
  }
}

async function* lines(events: AsyncIterable<RegistryEvent>, done: () => void): AsyncGenerator<string> {
  try {
    for await (const event of events) yield eventText(event);
  } finally {
    done();
  }
}

/** etcd's mux redirects where a path has two slashes or dots in it. */
function movedTo({ base, path }: Visit, search: string): EdgeAnswer | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return plain(400, "400 Bad Request");
  }
  const clean = cleanPath(decoded);
  if (clean === decoded) return undefined;
  const location =
    base + clean.split("/").map(encodeURIComponent).join("/") + (search === "" ? "" : `?${search}`);
  return { ...plain(301, ""), headers: { location } };
}

function notAllowed(allow: string): EdgeAnswer {
  return { ...plain(405, "Method Not Allowed\n"), headers: { allow } };
}

function json(value: unknown): EdgeAnswer {
  return { status: 200, type: "application/json", body: `${JSON.stringify(value)}\n` };
}

/** As etcd names a cluster: 64 bits, hexadecimal. */
function clusterOf(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 16);
}
