/** Counts and times what a process asks of etcd. */
import { Histogram, type Registry } from "prom-client";
import { stopwatch } from "../ports/clock.ts";
import type { EtcdPort } from "./etcd.ts";

/**
 * `ok` was answered; `refused` is a transaction whose compare did not hold; `unknown` one without a
 * clear answer; `unavailable` a read or a lease without one.
 */
type Outcome = "ok" | "refused" | "unknown" | "unavailable";

/** Seconds; etcd's own deadline for one call is 5. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** `etcd`, and what adds its metric to a registry that is made later. */
export function meterEtcd(etcd: EtcdPort): { etcd: EtcdPort; observe: (registry: Registry) => void } {
  const durations = new Histogram({
    name: "slipway_etcd_request_duration_seconds",
    help: "Length of a call to etcd, by what was asked and what came of it.",
    labelNames: ["operation", "outcome"],
    buckets: BUCKETS,
    registers: [],
  });
  const timed = async <T>(
    operation: string,
    call: () => Promise<T>,
    outcomeOf: (answer: T) => Outcome,
  ): Promise<T> => {
    const began = stopwatch();
    let outcome: Outcome = "unavailable";
    try {
      const answer = await call();
      outcome = outcomeOf(answer);
      return answer;
    } finally {
      durations.observe({ operation, outcome }, (stopwatch() - began) / 1000);
    }
  };
  const ok = (): Outcome => "ok";
  return {
    etcd: {
      read: (ranges) => timed("read", () => etcd.read(ranges), ok),
      txn: (compares, operations) =>
        timed(
          "txn",
          () => etcd.txn(compares, operations),
          ({ outcome }) => (outcome === "committed" ? "ok" : outcome),
        ),
      lease: (seconds) => timed("lease", () => etcd.lease(seconds), ok),
      compact: (revision) => timed("compact", () => etcd.compact(revision), ok),
      leaseOnce: (seconds) => timed("lease", () => etcd.leaseOnce(seconds), ok),
      watch: (prefix, hint) => etcd.watch(prefix, hint),
      follow: (prefix, revision, follower) => etcd.follow(prefix, revision, follower),
      close: () => etcd.close(),
    },
    observe: (registry) => registry.registerMetric(durations),
  };
}
