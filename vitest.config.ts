/**
 * Four projects: `pure` touches no socket and no process; `real` has a control plane and an
 * etcd; `days` are the bad days, each file with a whole cluster of its own, one at a time;
 * `e2e` has nodes with containers, needs root, and runs inside of a box (npm run e2e).
 */
import { configDefaults, defineConfig } from "vitest/config";

/** Set by `npm run test:long`: minutes instead of seconds. */
const long = process.env.LONG === "1";
const exclude = [...configDefaults.exclude, "dist/**"];

export default defineConfig({
  test: {
    // Real tests share two cores with the control plane that they test.
    maxWorkers: 2,
    teardownTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: "pure",
          include: ["**/*.test.ts"],
          exclude: [...exclude, "**/*.real.test.ts", "**/*.days.test.ts", "**/*.e2e.test.ts"],
          testTimeout: long ? 600_000 : 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: "real",
          include: ["**/*.real.test.ts"],
          exclude,
          globalSetup: ["test/real-setup.ts"],
          testTimeout: long ? 600_000 : 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["**/*.e2e.test.ts"],
          exclude,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 180_000,
        },
      },
      {
        extends: true,
        test: {
          name: "days",
          include: ["**/*.days.test.ts"],
          exclude,
          maxWorkers: 1,
          fileParallelism: false,
          // Days of one file that wait at the same time, each with machines of its own.
          maxConcurrency: 16,
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
