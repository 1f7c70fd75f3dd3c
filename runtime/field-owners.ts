/** Server-side apply that leaves alone what somebody else declares. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import { isApiError, type KubeClient } from "./client.ts";

/** Another manager declares the field: it would be set back. */
export class FieldOwned extends Error {
  /** The field manager. */
  readonly owner: string;
  /** As `spec.maxUnavailable`. */
  readonly field: string;

  constructor({ owner, field }: Owner, cause: unknown) {
    super(`${field} belongs to ${owner}`, { cause });
    this.name = "FieldOwned";
    this.owner = owner;
    this.field = field;
  }
}

interface Owner {
  owner: string;
  field: string;
}

/** Managers whose fields stand for no declaration that would be applied again: what somebody did once by hand. */
const BY_HAND = ["kubectl-create", "kubectl-edit", "kubectl-patch", "kubectl-replace", "kubectl-slipway"];
/** What `kubectl apply`, and GitOps that does as it does, declared last. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * Applies the fields that `object` names, to the object that was read as `stored`. Fields that others have without
 * declaring them are taken. Throws `FieldOwned`, and `ApiError`.
 */
export async function applyUndeclared(
  client: Pick<KubeClient, "apply">,
  resource: Resource,
  stored: KubeObject,
  object: KubeObject,
  fieldManager: string,
): Promise<void> {
  try {
    await client.apply(resource, object, { fieldManager });
  } catch (error) {
    const owners = ownersOf(error);
    if (owners.length === 0) throw error;
    const declared = owners.find((owner) => isDeclared(stored, owner));
    if (declared !== undefined) throw new FieldOwned(declared, error);
    await client.apply(resource, object, { fieldManager, force: true });
  }
}

/** Of a refused apply (apimachinery, `NewApplyConflict`). */
function ownersOf(error: unknown): Owner[] {
  if (!isApiError(error, "Conflict")) return [];
  return error.causes.flatMap((cause) => {
    const [, field, owner] = /^(\S+): conflict with "([^"]*)"/.exec(cause) ?? [];
    return field === undefined || owner === undefined ? [] : [{ owner, field: field.replace(/^\./, "") }];
  });
}

/** The API server gives a field that has a default to whoever made the object, though its manifest does not name it. */
function isDeclared(
  { metadata: { annotations, managedFields } }: KubeObject,
  { owner, field }: Owner,
): boolean {
  if (BY_HAND.includes(owner)) return false;
  const last = annotations?.[LAST_APPLIED];
  const applies = managedFields?.some(({ manager, operation }) => manager === owner && operation === "Apply");
  return last === undefined || applies !== false || names(last, field.split("."));
}

function names(text: string, path: readonly string[]): boolean {
  let at: unknown;
  try {
    at = JSON.parse(text);
  } catch {
    return true;
  }
  for (const part of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return false;
    at = (at as Record<string, unknown>)[part];
  }
  return true;
}
