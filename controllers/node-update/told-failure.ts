/**
 * A failure of which the agent alone tells: a person took the slot while the machine booted, or the NodeUpdate was made
 * anew since. No grant's verdict says so then, and without it the machine would count against nothing (design, rule 8).
 */
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import type { NodeView } from "./decision.ts";
import { FAILURES, WORD } from "./status.ts";
import { wantedOf } from "./target.ts";

/** Of a reason and a message, characters that the schema allows. */
const REASON = 1024;
const MESSAGE = 4096;

/**
 * `status`, of a node without a slot, with what the agent says of the release that it is to run and for that failure does
 * not; unless the status knows one there: each counts once, and only its own retry forgives it.
 */
export function withToldFailure(
  status: NodeUpdateStatus,
  { nodeUpdate, group, releases, observed }: NodeView,
  now: number,
): NodeUpdateStatus {
  const name = nodeUpdate.spec.release;
  const release = name === undefined ? undefined : releases.get(name);
  const payload = release?.spec.payloads.find(({ architecture }) => architecture === observed?.architecture);
  const told = observed?.failed.find(({ rootHash }) => rootHash === payload?.rootHash);
  if (name === undefined || told === undefined) return status;
  const wanted = wantedOf(nodeUpdate, group, releases, observed);
  if (wanted.kind !== "nothing" || wanted.why.reason !== "NeverAgain") return status;
  const known = status.failed ?? [];
  if (known.some(({ rootHash }) => rootHash === told.rootHash)) return status;
  const at = Number(told.atMs);
  const entry = {
    release: name,
    version: told.version.slice(0, WORD),
    rootHash: told.rootHash,
    reason: told.reason.slice(0, REASON),
    message: told.message.slice(0, MESSAGE),
    time: timestamp(at > 0 && at < now ? at : now),
  };
  return { ...status, failed: [entry, ...known].slice(0, FAILURES) };
}
