/** Writes the status of an object, if it differs from the one that we know. */
import type { Resource } from "../api/kind.ts";
import type { Declared } from "../api/meta.ts";
import type { KubeClient } from "./client.ts";

export interface ApplyStatusOptions {
  /** `slipway-<controller>`; owns every field of the status but `others`. */
  fieldManager: string;
  /** Fields that another controller writes: they are neither compared nor applied. */
  others?: readonly string[];
  signal?: AbortSignal;
}

/**
 * Applies `status` to the status subresource of `object`, as the owner of its fields. `object` is
 * what the store has: should that be old, the event that makes it new brings the key
 * again. Returns the object as stored, or `object` itself if nothing had to be written.
 */
export async function applyStatus<S, T>(
  client: KubeClient,
  resource: Resource,
  object: Declared<S, T>,
  status: T,
  { fieldManager, others = [], signal }: ApplyStatusOptions,
): Promise<Declared<S, T>> {
  const own = Object.entries(object.status ?? {}).filter(([field]) => !others.includes(field));
  if (object.status !== undefined && sameJson(Object.fromEntries(own), status)) return object;
  const { name, namespace, uid } = object.metadata;
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
  };
  const { apiVersion, kind } = object;
  const patch = { apiVersion, kind, metadata, status } as Declared<S, T>;
  return client.apply(resource, patch, {
    fieldManager,
    force: true,
    subresource: "status",
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Whether two values have the same JSON, whatever the order of keys. A field that is undefined is absent. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, index) => sameJson(item, b[index]));
  }
  const left = defined(a);
  const right = new Map(defined(b));
  return (
    left.length === right.size &&
    left.every(([key, value]) => right.has(key) && sameJson(value, right.get(key)))
  );
}

function defined(object: object): [string, unknown][] {
  return Object.entries(object).filter(([, value]) => value !== undefined);
}
