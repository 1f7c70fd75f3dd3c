/**
 * The page's connection to the stream of events. What comes between two frames is taken in one go, before the next frame.
 * The browser opens a broken stream again by itself, and says from where (Last-Event-ID); one that the server refused is
 * opened again here, later each time.
 */
import { batch, type Signal, signal } from "@preact/signals";
import type { Freshness } from "../contract.ts";
import type { ChangeEvent, SnapshotPart } from "../events.ts";
import type { Model } from "./model.ts";
import type { Timers } from "./timers.ts";

/** The part of EventSource that is used; tests give another. */
export interface Stream {
  readonly closed: boolean;
  on(name: "snapshot" | "change" | "freshness", take: (data: string) => void): void;
  onOpen(run: () => void): void;
  onError(run: () => void): void;
  close(): void;
}

/** The server says something every 15 s (events.ts). */
const SILENCE = 45_000;
const FIRST_RETRY = 1000;
const LAST_RETRY = 30_000;

/** `live`: events come. `lost`: none do, since then; where the server said why it gives none, it is there. */
export type Link =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "lost"; since: number; why?: string | undefined };

/** Of several streams, the one that a person must know of. */
export function worst(links: readonly Link[]): Link {
  const find = (state: Link["state"]): Link | undefined => links.find((link) => link.state === state);
  return find("lost") ?? find("connecting") ?? { state: "live" };
}

export class Feed {
  readonly link: Signal<Link> = signal({ state: "connecting" });
  readonly #model: Model;
  readonly #timers: Timers;
  readonly #path: string;
  readonly #open: (path: string) => Stream;
  readonly #whyNot: (path: string) => Promise<string | undefined>;
  #stream: Stream | undefined;
  #cancelRetry: () => void = () => {};
  #cancelWatch: () => void = () => {};
  #retry = FIRST_RETRY;
  #heard: number;
  #waiting: (() => void)[] = [];
  #stopped = false;

  /** `whyNot` asks the server why it refused the stream; undefined where it does not, or not any more. */
  constructor(options: {
    model: Model;
    timers: Timers;
    path: string;
    open: (path: string) => Stream;
    whyNot: (path: string) => Promise<string | undefined>;
  }) {
    this.#model = options.model;
    this.#timers = options.timers;
    this.#path = options.path;
    this.#open = options.open;
    this.#whyNot = options.whyNot;
    this.#heard = options.timers.now();
    this.#connect();
    this.#watch();
  }

  stop(): void {
    this.rest();
    this.#stopped = true;
  }

  /** Gives the connection back until `wake`: nobody looks. */
  rest(): void {
    this.#cancelRetry();
    this.#cancelWatch();
    this.#stream?.close();
    this.#stream = undefined;
    this.link.value = { state: "connecting" };
  }

  wake(): void {
    if (this.#stream !== undefined || this.#stopped) return;
    this.#heard = this.#timers.now();
    this.#connect();
    this.#watch();
  }

  #connect(): void {
    const stream = this.#open(this.#path);
    this.#stream = stream;
    stream.onOpen(() => this.#hear());
    stream.on("snapshot", (data) => this.#take(() => this.#model.snapshot(JSON.parse(data) as SnapshotPart)));
    stream.on("change", (data) => this.#take(() => this.#model.change(JSON.parse(data) as ChangeEvent)));
    stream.on("freshness", (data) =>
      this.#take(() => {
        this.#model.freshness.value = JSON.parse(data) as Freshness;
      }),
    );
    stream.onError(() => {
      if (stream !== this.#stream) return;
      this.#lose();
      if (!stream.closed) return;
      this.#again();
      void this.#whyNot(this.#path).then((why) => {
        const link = this.link.peek();
        if (link.state === "lost") this.link.value = { ...link, why };
      });
    });
  }

  #again(): void {
    this.#stream?.close();
    this.#cancelRetry();
    this.#cancelRetry = this.#timers.after(this.#retry, () => this.#connect());
    this.#retry = Math.min(this.#retry * 2, LAST_RETRY);
  }

  #watch(): void {
    this.#cancelWatch = this.#timers.after(SILENCE / 3, () => {
      if (this.#timers.now() - this.#heard > SILENCE && this.link.peek().state === "live") {
        this.#lose();
        this.#again();
      }
      this.#watch();
    });
  }

  #hear(): void {
    this.#heard = this.#timers.now();
    this.#retry = FIRST_RETRY;
    if (this.link.peek().state !== "live") this.link.value = { state: "live" };
  }

  #lose(): void {
    if (this.link.peek().state !== "lost") this.link.value = { state: "lost", since: this.#heard };
  }

  #take(apply: () => void): void {
    this.#hear();
    this.#waiting.push(apply);
    if (this.#waiting.length > 1) return;
    this.#timers.frame(() => {
      const all = this.#waiting;
      this.#waiting = [];
      batch(() => {
        for (const each of all) each();
      });
    });
  }
}

/** Of all views but the grid of machines, which has a stream of its own while it is shown. */
export const EVENTS = "api/v1/events";

export function machinesPath(group: string | undefined): string {
  const query = new URLSearchParams({ topics: "machines", ...(group === undefined ? {} : { group }) });
  return `${EVENTS}?${query.toString()}`;
}
