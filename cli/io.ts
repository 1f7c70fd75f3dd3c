/** What a command is given of the world outside: streams, environment, clock. Tests give others. */
import type { Clock } from "../ports/clock.ts";

export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** All of standard input. */
  readInput(): Promise<string>;
  /** One line that a person types; undefined where nobody can. */
  ask(question: string): Promise<string | undefined>;
  env: Readonly<Record<string, string | undefined>>;
  /** Whether `out` is a terminal, and how wide. */
  terminal: { isTTY: boolean; readonly columns: number };
  clock: Clock;
  /** Aborts when the person wants to stop. */
  signal: AbortSignal;
}

/** An error that a person is told as it is; `code` is the process's exit code. */
export class Failure extends Error {
  readonly code: number;

  constructor(message: string, code = 1) {
    super(message);
    this.name = "Failure";
    this.code = code;
  }
}
