/**
 * How Node.js runs the agent: memory before speed, because one runs on every node and its
 * heavy work (hashing, zstd, TLS) is native. Measured by `npm run bench -- memory`.
 */
export const nodeFlags: readonly string[] = [
  // No optimizing compilers: their code and threads' arenas cost about 5 MiB.
  "--no-opt",
  "--no-sparkplug",
  "--no-maglev",
  "--v8-pool-size=1",
  "--max-semi-space-size=1",
  // Collects before it grows: 5 MiB less.
  "--optimize-for-size",
];

/**
 * `cache` is a folder that outlives the process: compiled code read from there is not
 * compiled again, which saves about 10 MiB and half of the start time.
 */
export function nodeEnvironment(cache: string): Record<string, string> {
  return { NODE_COMPILE_CACHE: cache, MALLOC_ARENA_MAX: "1" };
}
