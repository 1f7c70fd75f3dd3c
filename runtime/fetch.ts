/** `fetch` for a server of the operator's choice, with an authority of its own if it has one. */
import { Agent, fetch } from "undici";

export interface Fetcher {
  fetch: typeof globalThis.fetch;
  close(): Promise<void>;
}

/** For a head, and for each part of a body, ms. */
const TIMEOUT = 10_000;
const MAX_CONNECTIONS = 8;

/**
 * `ca`: PEM; the well-known authorities where it is absent. `servername`: that the server's certificate must have,
 * where it is reached under another name; that of the URL where it is absent.
 */
export function createFetcher(ca: string | undefined, servername?: string): Fetcher {
  const dispatcher = new Agent({
    connections: MAX_CONNECTIONS,
    headersTimeout: TIMEOUT,
    bodyTimeout: TIMEOUT,
    connect: {
      timeout: TIMEOUT,
      ...(ca === undefined ? {} : { ca }),
      ...(servername === undefined ? {} : { servername }),
    },
  });
  return {
    // undici's own types of the same standard.
    fetch: ((input: never, init: object) => fetch(input, { ...init, dispatcher })) as never,
    close: () => dispatcher.close(),
  };
}
