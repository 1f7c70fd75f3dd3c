/** What the page is given of the browser that tells or takes time. */
export interface Timers {
  /** ms since 1970, by the browser's clock. */
  now(): number;
  /** Runs once after `ms`; gives what prevents it. */
  after(ms: number, run: () => void): () => void;
  /** Runs before the next frame; in a tab that shows none, a second later at most. */
  frame(run: () => void): void;
}
