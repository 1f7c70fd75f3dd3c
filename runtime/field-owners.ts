/** Whose fields a server-side apply would have taken, as the API server says it. */
import { isApiError } from "./client.ts";

export interface FieldOwner {
  /** The field manager. */
  owner: string;
  /** As `spec.maxUnavailable`. */
  field: string;
}

/**
 * Managers whose fields stand for no declaration that would be applied again: what somebody did once by hand.
 */
const BY_HAND = ["kubectl-create", "kubectl-edit", "kubectl-patch", "kubectl-replace", "kubectl-slipway"];

/** Of a refused apply; none where something else was wrong (apimachinery, `NewApplyConflict`). */
export function ownersOf(error: unknown): FieldOwner[] {
  if (!isApiError(error, "Conflict")) return [];
  return error.causes.flatMap((cause) => {
    const [, field, owner] = /^(\S+): conflict with "([^"]*)"/.exec(cause) ?? [];
    return field === undefined || owner === undefined ? [] : [{ owner, field: field.replace(/^\./, "") }];
  });
}

export function isByHand({ owner }: FieldOwner): boolean {
  return BY_HAND.includes(owner);
}
