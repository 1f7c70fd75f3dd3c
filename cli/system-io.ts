/** The process's own streams, environment and clock. */
import { env, stderr, stdin, stdout } from "node:process";
import { createInterface } from "node:readline/promises";
import { text } from "node:stream/consumers";
import { systemClock } from "../ports/clock.ts";
import type { Io } from "./io.ts";

/** Columns where nobody says how many there are. */
const COLUMNS = 160;

export function systemIo(signal: AbortSignal): Io {
  return {
    out: (part) => void stdout.write(part),
    err: (part) => void stderr.write(part),
    readInput: () => text(stdin),
    async ask(question) {
      if (!stdin.isTTY) return undefined;
      const lines = createInterface({ input: stdin, output: stderr });
      try {
        return await lines.question(question, { signal });
      } finally {
        lines.close();
      }
    },
    env,
    terminal: {
      isTTY: stdout.isTTY,
      get columns() {
        return stdout.columns ?? COLUMNS;
      },
    },
    clock: systemClock,
    signal,
  };
}
