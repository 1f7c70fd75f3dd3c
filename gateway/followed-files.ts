/** Files of a Secret or ConfigMap, read again when they change: what they say now, or said last where they can't be used. */
import { readFile } from "node:fs/promises";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";

/** Kubernetes swaps such files without telling: look this often, ms. */
const PERIOD = 10_000;

/** What is there at one look. */
export interface FilesRead<Content> {
  /** All of it, to be compared. */
  text: string;
  /** Throws with a sentence that may be logged. */
  load: () => Content | Promise<Content>;
  /** Whether what was made of the same text is to be made anew, as time goes by. */
  isDue?: (content: Content) => boolean;
}

export interface FollowedFilesOptions<Content> {
  /** The file, or the directory of several. */
  path: string;
  /** What is in it, for the log: "users of the CoreUpdate API". */
  what: string;
  read: () => Promise<FilesRead<Content>>;
  clock: Clock;
  log: Logger;
}

export class FollowedFiles<Content> {
  readonly #options: FollowedFilesOptions<Content>;
  readonly #listeners = new Set<(content: Content) => void>();
  #text: string;
  #current: Content;
  #cancel: Cancel | undefined;
  #stopped = false;
  /** Why they can't be used, as the log says: once for all looks. */
  #told = "";

  private constructor(options: FollowedFilesOptions<Content>, text: string, content: Content) {
    this.#options = options;
    this.#text = text;
    this.#current = content;
    this.#schedule();
  }

  /** Throws where they can't be read or used. */
  static async open<Content>(options: FollowedFilesOptions<Content>): Promise<FollowedFiles<Content>> {
    const { text, load } = await options.read();
    try {
      return new FollowedFiles(options, text, await load());
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
      const { text, load, isDue } = await this.#options.read();
      if (text === this.#text && isDue?.(this.#current) !== true) return;
      this.#current = await load();
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

/** One file, of which `parse` makes what is in it. */
export function followFile<Content>({
  parse,
  ...options
}: Omit<FollowedFilesOptions<Content>, "read"> & { parse: (text: string) => Content }): Promise<
  FollowedFiles<Content>
> {
  const read = async (): Promise<FilesRead<Content>> => {
    const text = await readFile(options.path, "utf8");
    return { text, load: () => parse(text) };
  };
  return FollowedFiles.open({ ...options, read });
}
