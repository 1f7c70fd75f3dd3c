/** The events of a simulated API server, and the watches that follow them. */
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { ApiError } from "../../runtime/client.ts";
import { INITIAL_EVENTS_END, type WatchEvent } from "../../runtime/watch-source.ts";
import type { ProcessClock } from "./clock.ts";
import { copy } from "./patch.ts";
import type { SeededRandom } from "./random.ts";

interface Server {
  random: SeededRandom;
  faults: { readonly down: boolean; readonly latency: number };
  revision: () => number;
  select: (resource: Resource) => KubeObject[];
}

interface Watcher {
  clock: ProcessClock;
  plural: string;
  wake: () => void;
}

export class WatchLog {
  readonly #server: Server;
  readonly #entries = new Map<string, { revision: number; event: WatchEvent }[]>();
  readonly #watchers = new Set<Watcher>();

  constructor(server: Server) {
    this.#server = server;
  }

  append(revision: number, plural: string, event: WatchEvent): void {
    this.#of(plural).push({ revision, event });
    for (const watcher of this.#watchers) if (watcher.plural === plural) this.#notify(watcher);
  }

  /** Ends every watch, as a restart of the API server does. */
  cut(): void {
    for (const watcher of this.#watchers) this.#notify(watcher);
  }

  async *follow(
    clock: ProcessClock,
    resource: Resource,
    request: { resourceVersion: string | undefined; timeoutSeconds: number; signal: AbortSignal },
  ): AsyncGenerator<WatchEvent> {
    const { faults, select, revision } = this.#server;
    const { resourceVersion: from, timeoutSeconds, signal } = request;
    await new Promise<void>((resolve) => clock.after(this.#latency(), resolve));
    if (faults.down) throw new ApiError("Unavailable", "the API server does not answer");
    const watcher: Watcher = { clock, plural: resource.plural, wake: () => {} };
    const end = new AbortController();
    const cancel = clock.after(timeoutSeconds * 1000, () => {
      end.abort();
      watcher.wake();
    });
    const over = (): boolean => end.signal.aborted || signal.aborted;
    const onAbort = (): void => watcher.wake();
    this.#watchers.add(watcher);
    signal.addEventListener("abort", onAbort);
    const entries = this.#of(resource.plural);
    let position = entries.length;
    try {
      if (from === undefined) {
        const initial = select(resource).map((object) => copy(object));
        const end = bookmark(resource, revision());
        for (const object of initial) yield { type: "ADDED", object };
        yield end;
      } else {
        const found = entries.findIndex((entry) => entry.revision > Number(from));
        position = found < 0 ? entries.length : found;
      }
      while (!over()) {
        if (faults.down) throw new ApiError("Unavailable", "the connection was reset");
        for (; position < entries.length; position++) {
          const event = entries[position]?.event;
          if (event !== undefined) yield copy(event);
        }
        if (over()) return;
        await new Promise<void>((resolve) => {
          watcher.wake = resolve;
        });
      }
    } finally {
      cancel();
      this.#watchers.delete(watcher);
      signal.removeEventListener("abort", onAbort);
    }
  }

  #of(plural: string): { revision: number; event: WatchEvent }[] {
    let entries = this.#entries.get(plural);
    if (entries === undefined) this.#entries.set(plural, (entries = []));
    return entries;
  }

  #latency(): number {
    return 1 + this.#server.random.below(this.#server.faults.latency);
  }

  #notify(watcher: Watcher): void {
    if (!watcher.clock.alive) this.#watchers.delete(watcher);
    else watcher.clock.after(this.#latency(), () => watcher.wake());
  }
}

function bookmark(resource: Resource, revision: number): WatchEvent {
  const annotations = { [INITIAL_EVENTS_END]: "true" };
  return {
    type: "BOOKMARK",
    object: {
      apiVersion: resource.version,
      kind: resource.kind,
      metadata: { name: "", resourceVersion: String(revision), annotations },
    },
  };
}
