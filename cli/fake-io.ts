/** An `Io` that remembers what was written. */
import { systemClock } from "../ports/clock.ts";
import type { Io } from "./io.ts";

export interface FakeIo extends Io {
  /** All of `out`, and all of `err`. */
  readonly written: { out: string; err: string };
}

export function fakeIo(options: Partial<Pick<Io, "env" | "ask">> & { input?: string } = {}): FakeIo {
  const written = { out: "", err: "" };
  return {
    written,
    out: (text) => void (written.out += text),
    err: (text) => void (written.err += text),
    readInput: () => Promise.resolve(options.input ?? ""),
    ask: options.ask ?? (() => Promise.resolve(undefined)),
    env: options.env ?? {},
    terminal: { isTTY: false, columns: 160 },
    clock: systemClock,
    signal: new AbortController().signal,
  };
}
