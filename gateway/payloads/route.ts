/**
 * Payloads at `/payloads/`, as update_engine fetches them: exact sizes, one Range, and an ETag that is the file's hash.
 * Whoever reaches the port may read them: what protects a machine is the vendor's signature, not secrecy.
 */
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { networkOf } from "../agents/address-buckets.ts";
import { type EdgeAnswer, type EdgeRequest, plain, type Route } from "../edge/server.ts";
import { defaultPayloadLimits, type PayloadLimits } from "./limits.ts";
import { decideRange } from "./range.ts";
import { NotNow, type OpenPayload, type PayloadSource } from "./source.ts";

const PREFIX = "/payloads";
/** From one line of the log about a place to the next, ms: a fleet that asks of one that is down must not fill the log. */
const TOLD_EVERY = 60_000;
/** Of a path in the log, characters: a request may have 16 KiB of it. */
const MAX_PATH = 200;

export interface PayloadOptions {
  /** Asked in their order; the first that has a payload serves it. */
  sources: readonly PayloadSource[];
  limits?: Partial<PayloadLimits>;
  clock: Pick<Clock, "monotonic">;
  log: Logger;
  /** A place could not be asked: the next one was. */
  failed: (place: PayloadSource["place"]) => void;
}

export function payloadRoute({
  sources,
  limits,
  clock,
  log,
  failed,
}: PayloadOptions): Route & { readonly downloads: number } {
  const places = new Places({ ...defaultPayloadLimits, ...limits });
  const told = new Map<PayloadSource["place"], number>();
  const tell = (place: PayloadSource["place"], path: string, error: unknown): void => {
    const now = clock.monotonic();
    if (now - (told.get(place) ?? -TOLD_EVERY) < TOLD_EVERY) return;
    told.set(place, now);
    log.error("a place of payloads can't be asked", error, { place, path: path.slice(0, MAX_PATH) });
  };
  return {
    prefix: PREFIX,
    maxBody: 0,
    get downloads() {
      return places.taken;
    },
    async answer(request) {
      if (request.method !== "GET" && request.method !== "HEAD")
        return { ...plain(405, "Payloads are fetched by GET.\n"), headers: { allow: "GET, HEAD" } };
      const free = places.take(networkOf(`${request.peer}:0`));
      if (free === undefined)
        return {
          ...plain(503, "Too many downloads at once: go on later.\n"),
          headers: { "retry-after": "60" },
        };
      const path = request.path.slice(PREFIX.length + 1);
      let notNow: string | undefined;
      for (const source of sources) {
        let payload: OpenPayload | undefined;
        try {
          payload = await source.open(path);
        } catch (error) {
          const { place } = source;
          const { cause = error } = error instanceof NotNow ? error : {};
          tell(place, path, cause);
          failed(place);
          notNow ??= error instanceof NotNow ? error.message : "It can't be read.";
        }
        if (payload !== undefined) return await answerPayload(request, payload, free);
      }
      free();
      if (notNow === undefined) return plain(404, "There is no such payload.\n");
      return { ...plain(503, `${notNow} Go on later.\n`), headers: { "retry-after": "60" } };
    },
  };
}

async function answerPayload(
  request: EdgeRequest,
  payload: OpenPayload,
  free: () => void,
): Promise<EdgeAnswer> {
  const { size, sha256 } = payload;
  const etag = `"${sha256}"`;
  const wanted = decideRange(
    {
      range: request.method === "GET" ? request.header("range") : undefined,
      ifRange: request.header("if-range"),
      ifNoneMatch: request.header("if-none-match"),
    },
    etag,
    size,
  );
  const headers = { etag, "accept-ranges": "bytes", "cache-control": "no-cache" };
  const close = async (): Promise<void> => {
    free();
    await payload.close();
  };
  if (!("first" in wanted)) {
    await close();
    if (wanted.status === 304)
      return { status: 304, headers: { ...headers, "content-length": `${size}` }, body: "" };
    return {
      ...plain(416, `The payload has ${size} bytes.\n`),
      headers: { ...headers, "content-range": `bytes */${size}` },
    };
  }
  const { status, first, length } = wanted;
  const answer: EdgeAnswer = {
    status,
    type: "application/octet-stream",
    headers: {
      ...headers,
      "content-length": `${length}`,
      ...(status === 206 ? { "content-range": `bytes ${first}-${first + length - 1}/${size}` } : {}),
    },
    body: "",
  };
  if (request.method === "HEAD") {
    await close();
    return answer;
  }
  const { gone } = request;
  const end = (): void => void close().catch(() => {});
  if (gone.aborted) end();
  gone.addEventListener("abort", end, { once: true });
  return { ...answer, pieces: payload.pieces(first, length, gone) };
}

class Places {
  readonly #limits: PayloadLimits;
  readonly #networks = new Map<string, number>();
  taken = 0;

  constructor(limits: PayloadLimits) {
    this.#limits = limits;
  }

  /** What gives the place back, once; undefined where there is none. */
  take(network: string): (() => void) | undefined {
    const own = this.#networks.get(network) ?? 0;
    if (this.taken >= this.#limits.downloads || own >= this.#limits.perNetwork) return undefined;
    this.taken += 1;
    this.#networks.set(network, own + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.taken -= 1;
      const left = (this.#networks.get(network) ?? 1) - 1;
      if (left === 0) this.#networks.delete(network);
      else this.#networks.set(network, left);
    };
  }
}
