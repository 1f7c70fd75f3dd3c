/** Why a gateway ends a session, and when the agent may come back. */
import { create } from "@bufbuild/protobuf";
import type { Random } from "../../ports/random.ts";
import { type SessionResponse, SessionResponseSchema } from "../../proto/gen/agent_pb.ts";

/** Waits in milliseconds, drawn evenly, so that a fleet doesn't return in one moment. */
const waits = {
  /** The gateway stops; another one takes over. */
  Stopping: [100, 3_000],
  /** The session is old enough to move to another gateway. */
  MaxAge: [0, 1_000],
  /** The gateway's lease ended, or etcd lost data: presence, and what was reported, is gone. */
  PresenceLost: [500, 5_000],
  /** No lease, no answer from etcd, or one that has lost its holders. */
  EtcdUnavailable: [3_000, 10_000],
  /** No answer from the Kubernetes API to a TokenReview. */
  ApiUnavailable: [3_000, 10_000],
  /** More new sessions, or sessions, than the gateway takes. */
  Busy: [1_000, 10_000],
  /** This identity opened one session after the other. */
  TooManySessions: [5_000, 15_000],
  /** A newer session of the same node exists. Two machines with one identity must not spin. */
  NewerSession: [5_000, 15_000],
  HelloTimeout: [5_000, 10_000],
  TooManyMessages: [30_000, 60_000],
  InvalidMessage: [60_000, 120_000],
} as const satisfies Record<string, readonly [number, number]>;

export type EndReason = keyof typeof waits;

/** The last message of a session. */
export function goAway(reason: EndReason, random: Random): SessionResponse {
  const [least, most] = waits[reason];
  const retryAfterMs = Math.round(least + random.next() * (most - least));
  return create(SessionResponseSchema, { body: { case: "goAway", value: { reason, retryAfterMs } } });
}
