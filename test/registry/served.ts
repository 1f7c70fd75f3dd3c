/** The v2 API served over a given etcd, and a client that sends what it is told and changes nothing. For tests. */
import { request as httpRequest } from "node:http";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { startEdge } from "../../gateway/edge/server.ts";
import { type RegistryOptions, registryRoutes } from "../../gateway/registry/route.ts";
import type { SemaphoreOptions, SetMax } from "../../gateway/registry/semaphore.ts";
import { Space, type SpaceOptions } from "../../gateway/registry/space.ts";
import { SlotLine } from "../../gateway/slots/line.ts";
import { type Clock, systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** As a client of Go sends it: `form` in the body of PUT and POST, in the query of others. */
export interface Ask {
  method?: string;
  /** From the root of the server, with a query if it has one. */
  path: string;
  form?: string;
  headers?: Record<string, string>;
}

/** Sends one request on a connection of the agent, and reads the whole answer. */
export function send(port: number, { method = "GET", path, form, headers }: Ask): Promise<Answer> {
  const inBody = form !== undefined && (method === "PUT" || method === "POST");
  const target = form === undefined || inBody ? path : `${path}?${form}`;
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      ...{ host: "127.0.0.1", port, method, path: target },
      headers: {
        ...(inBody
          ? { "content-type": "application/x-www-form-urlencoded", "content-length": Buffer.byteLength(form) }
          : {}),
        ...headers,
      },
    });
    request.once("error", reject);
    request.once("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.once("error", reject);
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    request.end(inBody ? form : undefined);
  });
}

/** A long poll: its headers are there, its lines come one by one. */
export interface Poll {
  status: number;
  headers: Answer["headers"];
  /** The next line; undefined once the poll has ended. */
  next(): Promise<string | undefined>;
  close(): void;
}

export function openPoll(port: number, path: string): Promise<Poll> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: "127.0.0.1", port, path, agent: false });
    request.once("error", reject);
    request.once("response", (response) => {
      const lines = (async function* () {
        let rest = "";
        for await (const text of response.setEncoding("utf8") as AsyncIterable<string>) {
          const parts = (rest + text).split("\n");
          rest = parts.pop() ?? "";
          yield* parts;
        }
      })();
      resolve({
        ...{ status: response.statusCode ?? 0, headers: response.headers },
        next: async () => (await lines.next()).value ?? undefined,
        close: () => request.destroy(),
      });
    });
    request.end();
  });
}

export interface Served {
  port: number;
  space: Space;
  /** Relative to `/v2/keys`. */
  ask(path: string, ask?: Omit<Ask, "path">): Promise<Answer>;
  poll(path: string): Promise<Poll>;
  close(): Promise<void>;
}

export interface ServedOptions extends Partial<Pick<SpaceOptions, "limits" | "firstIndex">> {
  name?: string;
  coordination?: Coordination;
  setMax?: SetMax;
  meter?: SemaphoreOptions["meter"];
  clock?: Clock;
  route?: Partial<RegistryOptions>;
}

/** One space, open to everybody unless `route` says otherwise. */
export async function serveRegistry(etcd: EtcdPort, options: ServedOptions = {}): Promise<Served> {
  const { name = "fleet", clock = systemClock, route, limits, firstIndex } = options;
  const [random, log] = [systemRandom, silentLogger];
  const space = new Space({
    ...{ name, etcd, clock, random, log },
    ...(limits === undefined ? {} : { limits }),
    ...(firstIndex === undefined ? {} : { firstIndex }),
  });
  const coordination = options.coordination ?? createCoordination({ etcd, clock, random, log });
  const routes = registryRoutes({
    ...{ spaces: new Map([[name, space]]), accepts: () => false, open: name, isOpen: () => true },
    semaphores: {
      coordination,
      line: new SlotLine({ coordination, clock, random }),
      clock,
      log,
      setMax: options.setMax ?? (() => Promise.resolve("nobody is asked")),
      meter: options.meter ?? (() => {}),
    },
    ...{ secure: false, clock, log },
    ...route,
  });
  const edge = await startEdge({
    ...{
      listen: { host: "127.0.0.1", port: 0 },
      routes,
      clock: systemClock,
      log,
      meter: { answered: () => {} },
    },
  });
  return {
    port: edge.port,
    space,
    ask: (path, ask) => send(edge.port, { ...ask, path: `/v2/keys${path}` }),
    poll: (path) => openPoll(edge.port, `/v2/keys${path}`),
    close: async () => {
      space.close();
      await edge.stop(1000);
    },
  };
}
