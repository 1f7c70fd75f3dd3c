/** Notices that etcd went back in time under a running process (design, rule 9). */
import { type EtcdPort, EtcdRewound } from "./etcd.ts";
import { keys } from "./keys.ts";

/**
 * `etcd` with reads that throw `EtcdRewound` once the store shows a lower revision than it
 * did before under the same incarnation: a snapshot was restored, and holders may be
 * missing. Reads go on under the incarnation that a rebuild makes. A store that was written
 * past the old revision before anybody read it looks well here: its pulse, which only leaders
 * write, gives it away to the leader that remembers a later one.
 */
export function guardRewind(etcd: EtcdPort): EtcdPort {
  let incarnation: string | undefined;
  let highest = 0;
  return {
    async read(ranges) {
      const { revision, results } = await etcd.read([...ranges, { key: keys.incarnation }]);
      const found = results.at(-1)?.[0]?.value;
      if (found !== incarnation) {
        incarnation = found;
        highest = 0;
      }
      // Answers may overtake each other: an older read is no sign of a rewind.
      const before = highest;
      highest = Math.max(highest, revision);
      if (revision < before) await confirm(etcd, before);
      return { revision, results: results.slice(0, -1) };
    },
    txn: (compares, operations) => etcd.txn(compares, operations),
    lease: (ttlSeconds) => etcd.lease(ttlSeconds),
    leaseOnce: (ttlSeconds) => etcd.leaseOnce(ttlSeconds),
    watch: (prefix, hint) => etcd.watch(prefix, hint),
    follow: (prefix, revision, follower) => etcd.follow(prefix, revision, follower),
    compact: (revision) => etcd.compact(revision),
    close: () => etcd.close(),
  };
}

/** A linearizable read that begins now sees at least what any earlier answer saw. */
async function confirm(etcd: EtcdPort, highest: number): Promise<void> {
  const { revision } = await etcd.read([]);
  if (revision < highest) throw new EtcdRewound(highest, revision);
}
