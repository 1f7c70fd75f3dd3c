/** Object metadata and conditions: what all kinds share with Kubernetes' own. */
import * as z from "zod";

export const GROUP = "slipway.dev";
export const VERSION = "v1alpha1";
export const API_VERSION = `${GROUP}/${VERSION}`;

/** The part of ObjectMeta that Slipway reads or writes (Kubernetes API conventions, "Metadata"). */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  /** Only of an object that was got by itself. */
  managedFields?: { manager?: string; operation?: string; fieldsV1?: Record<string, unknown> }[];
  ownerReferences?: {
    apiVersion: string;
    kind: string;
    name: string;
    uid: string;
    controller?: boolean;
    blockOwnerDeletion?: boolean;
  }[];
}

/** Any object of the Kubernetes API, as JSON. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** An object of one of our kinds. */
export interface Declared<S, T> extends KubeObject {
  spec: S;
  status?: T;
}

/**
 * A condition (Kubernetes API conventions, "Typical status properties"). `reason` is one
 * of api/reasons.ts; `lastTransitionTime` changes only when `status` does.
 */
export const Condition = z.object({
  type: z.string().max(316),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string().min(1).max(1024),
  message: z.string().max(32768),
  lastTransitionTime: z.iso.datetime(),
  observedGeneration: z.int().min(0).optional(),
});
export type Condition = z.output<typeof Condition>;

/** The conditions of a status: a list map by `type`, which server-side apply needs. */
export const Conditions = z
  .array(Condition)
  .max(16)
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });

/** A condition as a decision gives it; `setCondition` adds times and generation. */
export interface ConditionUpdate {
  type: string;
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
}

/** `conditions` with `update` in its place; the transition time moves only with the status. `now` in ms. */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  update: ConditionUpdate,
  generation: number | undefined,
  now: number,
): Condition[] {
  const before = conditions?.find((condition) => condition.type === update.type);
  const lastTransitionTime =
    before !== undefined && before.status === update.status ? before.lastTransitionTime : timestamp(now);
  const after: Condition = { ...update, lastTransitionTime };
  if (generation !== undefined) after.observedGeneration = generation;
  const rest = conditions?.filter((condition) => condition.type !== update.type) ?? [];
  return [...rest, after].toSorted((a, b) => (a.type < b.type ? -1 : 1));
}

/** RFC 3339 in UTC with whole seconds, as the Kubernetes API writes times. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** As far as the clocks of two managers may differ, ms. */
const SKEW = 60_000;

/** Whether `time` was dated by a clock that has been set back since: nothing may wait for it, or be forgiven until then. */
export function liesAhead(time: number, now: number): boolean {
  return time > now + SKEW;
}
