/** Who declared an object: what GitOps or a file would apply again is not changed or deleted behind its back. */
import type { KubeObject } from "../../api/meta.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { declarersOf } from "../../runtime/field-owners.ts";
import { Problem } from "./problem.ts";
import { foreignStages } from "./rollout.ts";

/** Throws `Problem` 409 where somebody else declares the object. */
export function demandDeletable(object: KubeObject): void {
  const [owner] = declarersOf(object, "spec");
  if (owner === undefined) return;
  const { kind, metadata } = object;
  throw new Problem(409, `${kind} ${metadata.name} belongs to ${owner}: delete it there.`);
}

/** Throws `Problem` 409 where somebody else declares one of these fields, such as `spec.paused`. */
export function demandFields(object: KubeObject, fields: readonly string[]): void {
  for (const field of fields) {
    const [owner] = declarersOf(object, field);
    if (owner === undefined) continue;
    const { kind, metadata } = object;
    throw new Problem(409, `${field} of ${kind} ${metadata.name} belongs to ${owner}: change it there.`);
  }
}

/** Throws `Problem` 409 where the stages of a group are not those that CoreUpdate's API made: to them none is added. */
export function demandStages(group: UpdateGroup): void {
  demandFields(group, ["spec.stages"]);
  const { name } = group.metadata;
  const others = foreignStages(group);
  if (others.length === 0) return;
  throw new Problem(
    409,
    `UpdateGroup ${name} has stages of its own (${others.join(", ")}), which are no percentages of time: change them by kubectl, or remove them first.`,
  );
}
