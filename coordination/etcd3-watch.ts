/** A watch as a source of hints: one right after each stream stands makes the reader look at all that was missed. */
import type { Cancel } from "../ports/clock.ts";
import { type WatchSource, WatchStreams } from "./etcd3-streams.ts";

/** A hint comes at least this often: a stream that hangs on a cut-off member says nothing. Ms. */
const NET = 30_000;

export class HintWatch {
  readonly #source: WatchSource;
  readonly #hint: () => void;
  readonly #streams: WatchStreams;
  #net: Cancel = () => {};

  constructor(source: WatchSource, hint: () => void) {
    this.#source = source;
    this.#hint = hint;
    this.#armNet();
    this.#streams = new WatchStreams(source, {
      from: () => ({ progress_notify: true }),
      stands: hint,
      told: ({ events }) => {
        if (events.length > 0) hint();
      },
      compacted: () => true,
    });
  }

  close(): void {
    this.#streams.close();
    this.#net();
  }

  #armNet(): void {
    this.#net = this.#source.clock.after(NET, () => {
      this.#armNet();
      this.#hint();
    });
  }
}
