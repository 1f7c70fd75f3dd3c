/** An API server for one resource in memory, whose every answer a test lets go, delays or breaks. */
import type { KubeObject } from "../api/meta.ts";
import { ApiError } from "./client.ts";
import { INITIAL_EVENTS_END, type ListPage, type WatchEvent, type WatchSource } from "./watch-source.ts";

interface Entry {
  version: number;
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: KubeObject;
}

interface Watcher {
  cursor: number;
  initial: WatchEvent[];
  buffer: WatchEvent[];
  wake: () => void;
  end: Error | "clean" | undefined;
  /** The connection is dead: nothing arrives any more, not even its end. */
  silent: boolean;
}

export class FaultySource implements WatchSource {
  version = 100;
  compacted = 0;
  streams: "yes" | "refused" | "ignored" = "yes";
  readonly objects = new Map<string, KubeObject>();
  readonly log: Entry[] = [];
  readonly watchers = new Set<Watcher>();
  readonly calls: (() => void)[] = [];
  /** Nothing waits for the test any more. */
  free = false;

  write(name: string, type: "put" | "delete" | "recreate"): void {
    const before = this.objects.get(name);
    if (type === "delete" || (type === "recreate" && before !== undefined)) {
      if (before === undefined) return;
      this.version += 1;
      this.objects.delete(name);
      this.#append("DELETED", {
        ...before,
        metadata: { ...before.metadata, resourceVersion: String(this.version) },
      });
      if (type === "delete") return;
    }
    this.version += 1;
    const uid = type === "recreate" ? undefined : before?.metadata.uid;
    const object = {
      apiVersion: "v1",
      kind: "Thing",
      metadata: { name, uid: uid ?? `uid-${this.version}`, resourceVersion: String(this.version) },
    };
    this.objects.set(name, object);
    this.#append(uid === undefined ? "ADDED" : "MODIFIED", object);
  }

  #append(type: Entry["type"], object: KubeObject): void {
    this.log.push({ version: this.version, type, object });
    if (this.free) this.deliver(Number.POSITIVE_INFINITY);
  }

  deliver(count: number): void {
    for (const watcher of this.watchers) {
      const ready: WatchEvent[] = watcher.initial.splice(0, count);
      for (const entry of this.log) {
        if (ready.length >= count) break;
        if (entry.version <= watcher.cursor) continue;
        watcher.cursor = entry.version;
        ready.push({ type: entry.type, object: structuredClone(entry.object) });
      }
      this.#push(watcher, ready);
    }
  }

  bookmark(): void {
    for (const watcher of this.watchers) {
      if (watcher.initial.length > 0) continue;
      // All up to its cursor was sent: this is where it may resume.
      const resourceVersion = String(watcher.cursor);
      this.#push(watcher, [
        {
          type: "BOOKMARK",
          object: { apiVersion: "v1", kind: "Thing", metadata: { name: "", resourceVersion } },
        },
      ]);
    }
  }

  /** Sends again what was sent before. */
  duplicate(): void {
    for (const watcher of this.watchers) {
      const sent = this.log.filter((entry) => entry.version <= watcher.cursor).slice(-2);
      this.#push(
        watcher,
        sent.map(({ type, object }) => ({ type, object: structuredClone(object) })),
      );
    }
  }

  #push(watcher: Watcher, events: WatchEvent[]): void {
    if (watcher.silent) return;
    watcher.buffer.push(...events);
    watcher.wake();
  }

  breakAll(how: "reset" | "clean" | "gone" | "silent"): void {
    for (const watcher of this.watchers) {
      if (how === "silent") watcher.silent = true;
      else if (!watcher.silent) {
        watcher.end =
          how === "clean"
            ? "clean"
            : how === "gone"
              ? new ApiError("Gone", "too old resource version", { status: 410 })
              : new ApiError("Unavailable", "ECONNRESET");
        watcher.wake();
      }
    }
  }

  answer(how: "all" | "fail"): void {
    for (const call of this.calls.splice(0)) call();
    if (how === "fail") this.failNext = true;
  }

  failNext = false;

  async #turn(signal: AbortSignal): Promise<void> {
    if (!this.free) {
      await new Promise<void>((resolve) => {
        this.calls.push(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    if (this.failNext) {
      this.failNext = false;
      throw new ApiError("Unavailable", "503", { status: 503 });
    }
  }

  async list({
    continue: token,
    signal,
  }: {
    continue?: string | undefined;
    signal: AbortSignal;
  }): Promise<ListPage> {
    await this.#turn(signal);
    const [at, from] = token === undefined ? [this.version, 0] : token.split(":").map(Number);
    if (at === undefined || from === undefined || at < this.compacted) {
      throw new ApiError("Gone", "the continue token is too old", { status: 410 });
    }
    // The state at `at`: two objects a page.
    const state = new Map<string, KubeObject>();
    for (const { version, type, object } of this.log) {
      if (version > at) break;
      if (type === "DELETED") state.delete(object.metadata.name);
      else state.set(object.metadata.name, object);
    }
    const all = [...state.values()].toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    const more = from + 2 < all.length;
    return {
      resourceVersion: String(at),
      items: structuredClone(all.slice(from, from + 2)),
      continue: more ? `${at}:${from + 2}` : undefined,
    };
  }

  async *watch({
    resourceVersion,
    signal,
  }: {
    resourceVersion: string | undefined;
    signal: AbortSignal;
  }): AsyncGenerator<WatchEvent> {
    await this.#turn(signal);
    const streaming = resourceVersion === undefined;
    if (streaming && this.streams === "refused") {
      throw new ApiError("Invalid", "sendInitialEvents is forbidden", { status: 422 });
    }
    const from = streaming ? this.version : Number(resourceVersion);
    if (from < this.compacted) throw new ApiError("Gone", "too old resource version", { status: 410 });
    const initial: WatchEvent[] = [];
    if (streaming) {
      for (const object of this.objects.values())
        initial.push({ type: "ADDED", object: structuredClone(object) });
      if (this.streams === "yes") {
        const annotations = { [INITIAL_EVENTS_END]: "true" };
        const metadata = { name: "", resourceVersion: String(from), annotations };
        initial.push({ type: "BOOKMARK", object: { apiVersion: "v1", kind: "Thing", metadata } });
      }
    }
    const watcher: Watcher = {
      cursor: from,
      initial,
      buffer: [],
      wake: () => {},
      end: undefined,
      silent: false,
    };
    this.watchers.add(watcher);
    signal.addEventListener("abort", () => watcher.wake(), { once: true });
    if (this.free) this.deliver(Number.POSITIVE_INFINITY);
    try {
      for (;;) {
        while (watcher.buffer.length > 0) {
          const event = watcher.buffer.shift();
          if (event !== undefined) yield event;
        }
        if (signal.aborted || watcher.end === "clean") return;
        if (watcher.end !== undefined) throw watcher.end;
        await new Promise<void>((resolve) => {
          watcher.wake = resolve;
        });
      }
    } finally {
      this.watchers.delete(watcher);
    }
  }
}
