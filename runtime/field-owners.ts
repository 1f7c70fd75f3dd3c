/**
 * Who owns a field of an object, and whether that stands for a declaration (GitOps, an applied file), which would be set
 * back and so is nobody else's to change, or for what was done once: by hand, at a door of ours, or by a default.
 */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import { type ApplyOptions, isApiError, type KubeClient } from "./client.ts";

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

/** Field manager of the plugin. */
export const KUBECTL_SLIPWAY = "kubectl-slipway";
/** Of writes through CoreUpdate's API: this, or this and a dash and the set of fields. */
export const UPDATESERVICECTL = "updateservicectl";
/** Of `locksmithctl set-max`, likewise. */
export const LOCKSMITH = "locksmith";
/** Of the console, and of controllers that fill in what nobody set. */
const SLIPWAY = "slipway";

const KUBECTL = ["create", "edit", "patch", "replace", "annotate", "label"].map((verb) => `kubectl-${verb}`);
const BY_HAND: readonly string[] = [...KUBECTL, KUBECTL_SLIPWAY];
const DOORS = [SLIPWAY, UPDATESERVICECTL, LOCKSMITH];

/** What `kubectl apply`, and GitOps that does as it does, declared last. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * Server-side apply of the fields that `object` names. Those that others have without declaring them are taken, and
 * with `force` all. Throws `FieldOwned`, and `ApiError`.
 */
export async function applyUndeclared<T extends KubeObject>(
  client: Pick<KubeClient, "get" | "apply">,
  resource: Resource,
  object: KubeObject,
  options: ApplyOptions,
): Promise<T> {
  try {
    return (await client.apply(resource, object, options)) as T;
  } catch (error) {
    const owners = ownersIn(error);
    if (owners.length === 0) throw error;
    const stored = await client.get<KubeObject>(resource, object.metadata);
    const declared = owners.find((owner) => isDeclared(stored, owner));
    if (declared !== undefined) throw new FieldOwned(declared, error);
    return (await client.apply(resource, object, { ...options, force: true })) as T;
  }
}

/** Managers that declare `field`, or a part of it, of an object that was got by itself. */
export function declarersOf(object: KubeObject, field: string): string[] {
  return ownersOf(object, field).filter((owner) => isDeclared(object, { owner, field }));
}

/** Managers that have `field`, or a part of it, declared or not, of an object that was got by itself. */
export function ownersOf({ metadata }: KubeObject, field: string): string[] {
  return (metadata.managedFields ?? []).flatMap(({ manager: owner = "", fieldsV1 }) =>
    names(fieldsV1, field, "f:") ? [owner] : [],
  );
}

/** Of a refused apply (apimachinery, `NewApplyConflict`). */
function ownersIn(error: unknown): Owner[] {
  if (!isApiError(error, "Conflict")) return [];
  return error.causes.flatMap((cause) => {
    const [, field, owner] = /^(\S+): conflict with "([^"]*)"/.exec(cause) ?? [];
    return field === undefined || owner === undefined ? [] : [{ owner, field: field.replace(/^\./, "") }];
  });
}

function isDeclared({ metadata }: KubeObject, { owner, field }: Owner): boolean {
  if (BY_HAND.includes(owner)) return false;
  if (DOORS.some((door) => owner === door || owner.startsWith(`${door}-`))) return false;
  const entries = (metadata.managedFields ?? []).filter(({ manager }) => manager === owner);
  if (entries.some(({ operation }) => operation === "Apply")) return true;
  // Whoever makes an object by another way owns the defaults of the fields that its manifest does not name.
  const last = metadata.annotations?.[LAST_APPLIED];
  const lastIsIts = entries.some(({ fieldsV1 }) =>
    names(fieldsV1, `metadata.annotations.${LAST_APPLIED}`, "f:"),
  );
  return last === undefined || !lastIsIts || appliedNames(last, field);
}

/** What can't be read may name anything. */
function appliedNames(text: string, field: string): boolean {
  try {
    return names(JSON.parse(text), field);
  } catch {
    return true;
  }
}

/**
 * Whether `tree` has the field; each of its keys has `prefix`. In a path keys may have dots themselves, as annotations
 * have; of a list only the whole is looked for.
 */
function names(tree: unknown, path: string, prefix = ""): boolean {
  if (typeof tree !== "object" || tree === null) return false;
  return Object.entries(tree).some(([prefixed, inner]) => {
    if (!prefixed.startsWith(prefix)) return false;
    const key = prefixed.slice(prefix.length);
    if (path === key || path.startsWith(`${key}[`)) return true;
    return path.startsWith(`${key}.`) && names(inner, path.slice(key.length + 1), prefix);
  });
}
