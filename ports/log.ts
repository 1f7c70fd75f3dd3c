/** Logs: one JSON object a line, a constant message, values in keys. */
import type { Clock } from "./clock.ts";

export type LogValue = string | number | boolean | undefined | null;
export type LogFields = Record<string, LogValue>;

export interface Logger {
  /** `message` is constant; what varies goes into `fields`. */
  info(message: string, fields?: LogFields): void;
  error(message: string, error: unknown, fields?: LogFields): void;
  /** A logger that adds `fields` to each line. */
  with(fields: LogFields): Logger;
}

/** Longest line written, in characters: a huge error must not fill a disk. */
const MAX_VALUE = 4096;

function clip(value: LogValue): LogValue {
  return typeof value === "string" && value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}…` : value;
}

/** Writes to `write`, which gets whole lines. */
export function jsonLogger(clock: Clock, write: (line: string) => void, base: LogFields = {}): Logger {
  const emit = (level: "info" | "error", message: string, fields: LogFields): void => {
    const line: Record<string, LogValue> = { time: new Date(clock.now()).toISOString(), level, message };
    for (const [key, value] of Object.entries({ ...base, ...fields })) {
      if (value !== undefined) line[key] = clip(value);
    }
    write(`${JSON.stringify(line)}\n`);
  };
  return {
    info: (message, fields = {}) => emit("info", message, fields),
    error: (message, error, fields = {}) =>
      emit("error", message, {
        ...fields,
        error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
      }),
    with: (fields) => jsonLogger(clock, write, { ...base, ...fields }),
  };
}

/** Drops everything: for callers that are not interested. */
export const silentLogger: Logger = { info: () => {}, error: () => {}, with: () => silentLogger };
