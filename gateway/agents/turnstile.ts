/** Lets so many calls run at once and so many wait; the next is turned away. */
export class Busy extends Error {
  constructor() {
    super("too many calls wait already");
    this.name = "Busy";
  }
}

export class Turnstile {
  readonly #most: number;
  readonly #mostWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(most: number, mostWaiting: number) {
    this.#most = most;
    this.#mostWaiting = mostWaiting;
  }

  /** Throws `Busy` where the line is full. */
  async run<R>(work: () => Promise<R>): Promise<R> {
    if (this.#running >= this.#most) {
      if (this.#waiting.length >= this.#mostWaiting) throw new Busy();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
