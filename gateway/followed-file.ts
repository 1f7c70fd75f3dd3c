/** A file of a Secret or ConfigMap, read again when it changes: what it says now, or said last where it can't be used. */
import { readFile } from "node:fs/promises";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";

/** Kubernetes swaps such files without telling: look this often, ms. */
const PERIOD = 10_000;

export interface FollowedFileOptions<Content> {
  path: string;
  /** What is in it, for the log: "users of the CoreUpdate API". */
  what: string;
  /** Throws with a sentence that may be logged. */
  parse: (text: string) => Content;
  clock: Clock;
  log: Logger;
}

export class FollowedFile<Content> {
  readonly #options: FollowedFileOptions<Content>;
  readonly #listeners = new Set<(content: Content) => void>();
  #text: string;
  #current: Content;
  #cancel: Cancel | undefined;
  #stopped = false;
  /** Why the file can't be used, as the log says: once for all looks. */
  #told = "";

  private constructor(options: FollowedFileOptions<Content>, text: string) {
    this.#options = options;
    this.#text = text;
    this.#current = options.parse(text);
    this.#schedule();
  }

  /** Throws where the file can't be read or used. */
  static async open<Content>(options: FollowedFileOptions<Content>): Promise<FollowedFile<Content>> {
    const text = await readFile(options.path, "utf8");
    try {
      return new FollowedFile(options, text);
    } catch (error) {
      throw new Error(`${options.path}: ${(error as Error).message}`, { cause: error });
    }
  }

  get current(): Content {
    return this.#current;
  }

  /** Calls `listener` after each change. */
  onChange(listener: (content: Content) => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Looks for changes now. What can't be used leaves the former in place. */
  async refresh(): Promise<void> {
    const { path, what, log } = this.#options;
    try {
      const text = await readFile(path, "utf8");
      if (text === this.#text) return;
      this.#current = this.#options.parse(text);
      this.#text = text;
      this.#told = "";
      log.info(`${what} changed`, { path });
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#told)
        log.error(`can't use the changed ${what}; the former stay`, error, { path });
      this.#told = message;
      return;
    }
    for (const listener of this.#listeners) {
      try {
        listener(this.#current);
      } catch (error) {
        log.error(`can't put the changed ${what} to use`, error, { path });
      }
    }
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(PERIOD, () => {
      void this.refresh().then(() => this.#schedule());
    });
  }
}
