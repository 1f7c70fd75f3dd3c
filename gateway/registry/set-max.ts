/**
 * `locksmithctl set-max`: how many machines of a group may be down. It becomes the UpdateGroup's own limit, where the
 * group lets its machines' secret do that; 0 pauses the group. A field that another manager declares stays as it is.
 */
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { ApiError, type KubeClient } from "../../runtime/client.ts";
import { applyUndeclared, FieldOwned, LOCKSMITH, ownersOf } from "../../runtime/field-owners.ts";
import type { SetMax } from "./semaphore.ts";

/** Server-side apply removes what its manager does not name again, so the pause has one of its own. */
const MAX_MANAGER = LOCKSMITH;
const PAUSE_MANAGER = `${LOCKSMITH}-paused`;

export interface SetMaxOptions {
  client: Pick<KubeClient, "get" | "apply">;
  coordination: Pick<Coordination, "append">;
  clock: Clock;
  log: Logger;
}

export function setMaxBy({ client, coordination, clock, log }: SetMaxOptions): SetMax {
  /** It is done; that nobody could write it down is no reason to say that it is not. */
  const journal = async (group: string, old: UpdateGroup["spec"], max: number): Promise<void> => {
    const was = old.paused ? 0 : old.maxUnavailable;
    const message = `Who has the secret of its machines set its max by Locksmith: old max ${was}, max ${max}.`;
    const about = { uid: "", node: "", group, what: "asked", reason: "Asked", message, by: "locksmith" };
    await coordination.append({ at: clock.now(), ...about }).catch((error: unknown) => {
      log.error("what a machine set can't be written to the journal", error, { group, max });
    });
  };
  return async (name, max) => {
    try {
      const group = await client.get<UpdateGroup>(updateGroup, { name });
      const refusal = refuse(group, max);
      if (refusal !== undefined) return refusal;
      if (max === 0) {
        await apply(client, group, { paused: true }, PAUSE_MANAGER);
      } else {
        await apply(client, group, { maxUnavailable: max }, MAX_MANAGER);
        // Whoever paused it as well keeps the pause, though ours is gone.
        const left = group.spec.paused ? await apply(client, group, {}, PAUSE_MANAGER) : group;
        if (left.spec.paused) return `${max} machines of it may be down, but ${stays(name)}`;
      }
      await journal(name, group.spec, max);
      log.info("a machine set how many of its group may be down", {
        group: name,
        max,
        protocol: "Locksmith",
      });
      return "done";
    } catch (error) {
      if (error instanceof FieldOwned)
        return `${error.field} of UpdateGroup ${name} belongs to ${error.owner}: change it there`;
      if (!(error instanceof ApiError)) throw error;
      log.error("can't set how many machines of a group may be down", error, { group: name, max });
      return sentenceOf(error, name);
    }
  };
}

function refuse(group: UpdateGroup, max: number): string | undefined {
  const { metadata, spec } = group;
  const { name } = metadata;
  if (spec.machines?.setMax !== true) {
    return `UpdateGroup ${name} does not let its machines' secret change its limit: set spec.machines.setMax, or run kubectl slipway locks set-max ${name} ${max}`;
  }
  if (max < 0) return `${max} is no number of machines`;
  if (max === 0 || !spec.paused) return undefined;
  const owners = ownersOf(group, "spec.paused");
  // Of a pause that several made, ours alone would go.
  return owners.length > 0 && owners.every((owner) => owner === PAUSE_MANAGER) ? undefined : stays(name);
}

function stays(name: string): string {
  return `UpdateGroup ${name} was paused by somebody else: kubectl slipway rollout resume ${name} lets it go on`;
}

async function apply(
  client: SetMaxOptions["client"],
  group: UpdateGroup,
  spec: object,
  fieldManager: string,
): Promise<UpdateGroup> {
  const { apiVersion, kind, metadata } = group;
  const { name, uid } = metadata;
  const object = { apiVersion, kind, metadata: { name, ...(uid === undefined ? {} : { uid }) }, spec };
  return await applyUndeclared<UpdateGroup>(client, updateGroup, object, { fieldManager });
}

/** Clients print it. */
function sentenceOf(error: ApiError, name: string): string {
  switch (error.kind) {
    case "Forbidden":
      return `the gateway may not write UpdateGroup ${name}: its service account needs get and patch`;
    case "NotFound":
      return `there is no UpdateGroup ${name}`;
    case "Invalid":
      return error.message;
    default:
      return "the Kubernetes API gives no clear answer: look before you ask again";
  }
}
