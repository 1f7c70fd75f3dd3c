/** FleetLock as it is spoken: the two calls, their body, and what is answered (zincati docs/development/fleetlock/protocol.md). */
import * as z from "zod";
import type { Reason } from "../../api/reasons.ts";
import type { EdgeAnswer } from "../edge/server.ts";

/** Clients send `true`; it keeps a browser, or a redirect, from taking a slot. */
export const PROTOCOL_HEADER = "fleet-lock-protocol";

/** An id of Zincati has 32 characters, a group 64 at most in the wild: room for others. */
const MAX_ID = 256;

const Body = z.object({
  client_params: z.object({
    id: z
      .string()
      .min(1)
      .max(MAX_ID)
      .regex(/^\P{Cc}+$/u),
    group: z
      .string()
      .max(253)
      .regex(/^[a-zA-Z0-9.-]+$/),
  }),
});

export interface Client {
  id: string;
  group: string;
}

/** What is wrong, as clients are told: `kind` is one of a few, for their metrics; `value` is for people. */
export interface FleetLockError {
  status: number;
  kind: string;
  value: string;
}

export function parseClient(body: Buffer): Client | FleetLockError {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return { status: 400, kind: "invalid_body", value: "The body is no JSON in UTF-8." };
  }
  const parsed = Body.safeParse(json);
  if (parsed.success) return parsed.data.client_params;
  const [issue] = parsed.error.issues;
  return {
    status: 400,
    kind: "invalid_client_params",
    value: `${issue?.path.join(".") ?? ""}: an id of 1 to ${MAX_ID} characters and a group of letters, digits, "." and "-" are expected.`,
  };
}

/**
 * Status of a refusal and its kind. 423 says "not now" (RFC 4918 section 11.3), as other servers do; a full semaphore
 * has the kind of the protocol's own example.
 */
export function errorOf({ reason, message }: { reason: Reason; message: string }): FleetLockError {
  const kinds: Partial<Record<Reason, [number, string]>> = {
    WaitingForBudget: [423, "failed_lock_semaphore_full"],
    WaitingForTurn: [423, "failed_lock_waiting_for_turn"],
    Draining: [423, "failed_lock_draining"],
    WaitingForWindow: [423, "failed_lock_window_closed"],
    Paused: [423, "failed_lock_paused"],
    FailureThresholdReached: [423, "failed_lock_halted"],
    ReleaseQuarantined: [423, "failed_lock_quarantined"],
    Deleting: [423, "failed_lock_group_deleted"],
    AlreadyGranted: [409, "failed_lock_held_elsewhere"],
    MachinesUnconfirmed: [423, "failed_lock_unconfirmed"],
    MachinesNotServed: [404, "unknown_group"],
    WaitingForGates: [503, "failed_lock_unavailable"],
    EtcdUnavailable: [503, "failed_lock_unavailable"],
  };
  const [status, kind] = kinds[reason] ?? [423, "failed_lock"];
  return { status, kind, value: message };
}

/** Clients take any 2xx for yes and read nothing of it. */
export const YES: EdgeAnswer = { status: 200, type: "application/json", body: "{}\n" };

export function no({ status, kind, value }: FleetLockError): EdgeAnswer {
  return {
    ...{ status, type: "application/json", body: `${JSON.stringify({ kind, value })}\n` },
    ...(status === 405 ? { headers: { allow: "POST" } } : {}),
    ...(status === 503 ? { headers: { "retry-after": "30" } } : {}),
  };
}
