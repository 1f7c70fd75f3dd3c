#!/usr/bin/env node
/** `kubectl-slipway`: found on the PATH, it is `kubectl slipway`. */
import { runPlugin } from "./program.ts";
import { systemIo } from "./system-io.ts";

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
// A pager that was closed is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
});

void runPlugin(process.argv.slice(2), systemIo(stop.signal)).then((code) => {
  process.exitCode = code;
});
