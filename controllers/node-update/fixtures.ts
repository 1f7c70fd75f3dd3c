import { CORDON_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { GrantStatus, NodeUpdate } from "../../api/node-update.ts";
import { group, INCARNATION, live, NOW, node, nodeUpdate, nodeView, stagedSince } from "../fixtures.ts";
import { freeze } from "./deadlines.ts";
import type { NodeView } from "./decision.ts";

const MINUTE = 60_000;

export const granted: GrantStatus = {
  nonce: "nonce-7",
  budgets: ["group/pool"],
  phase: "Granted",
  release: "os-1.1.0",
  incarnation: INCARNATION,
  revision: 7,
  since: timestamp(NOW - MINUTE),
  policy: freeze(group("pool")),
};

export const waited = nodeUpdate("a", "pool", "os-1.1.0", stagedSince(NOW - 5 * MINUTE));
export const view = (changes: Partial<NodeView> = {}): NodeView =>
  nodeView({ nodeUpdate: waited, ...changes });

export const withGrant = (grant: GrantStatus | undefined): NodeUpdate =>
  nodeUpdate("a", "pool", "os-1.1.0", {
    ...stagedSince(NOW - 5 * MINUTE),
    step: "Draining",
    reason: "Draining",
    ...(grant === undefined ? {} : { grant }),
  });

export const cordonedFor = (revision: number) => {
  const made = node("a", { cordoned: true });
  made.metadata.annotations = {
    [CORDON_ANNOTATION]: JSON.stringify({
      token: { incarnation: INCARNATION, revision },
      unschedulable: false,
    }),
  };
  return made;
};

/** A view under a grant, cordoned by it. */
export const under = (phase: Parameters<typeof live>[1], changes: Partial<NodeView> = {}): NodeView =>
  view({ nodeUpdate: withGrant(granted), node: cordonedFor(7), live: live("uid-a", phase), ...changes });
