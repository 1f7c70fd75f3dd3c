/** What `locksmithctl lock`, `unlock` and `set-max` do, for the slots of an UpdateGroup. */
import { Command } from "commander";
import { HOLD_ANNOTATION, LOCK_MACHINE_ANNOTATION } from "../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import type { KubeClient } from "../runtime/client.ts";
import { NODES, type Node } from "../runtime/core.ts";
import { applyUndeclared, declarersOf, FieldOwned, KUBECTL_SLIPWAY } from "../runtime/field-owners.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { Failure, type Io } from "./io.ts";
import { askManager, stealMachine } from "./machines.ts";
import { setHold } from "./node.ts";
import { stealSlot } from "./steal.ts";
import { annotate, find, need } from "./write.ts";

type LockFlags = GlobalFlags & { reason: string; yes?: boolean };

export function lockCommand(io: Io): Command {
  return new Command("lock")
    .description("Hold a node back; or take a slot for a machine without our agent, as locksmithctl does.")
    .argument("<group>")
    .argument("<id>", "a Node, or the id that a machine sends")
    .requiredOption("--reason <text>", "why; it is kept with the lock")
    .action(async (name: string, id: string, _: unknown, self: Command) => {
      const { reason, ...flags } = self.optsWithGlobals<LockFlags>();
      await withClient(flags, io, async (client) => {
        const group = await need<UpdateGroup>(client, updateGroup, name);
        if ((await memberOf(client, name, id)) !== undefined) return await setHold(client, io, id, reason);
        if (group.spec.machines === undefined) throw unknown(id, name);
        try {
          await askManager(client, io, name, {
            ...{ annotation: LOCK_MACHINE_ANNOTATION, machine: id, reason },
            deed: `takes a slot for ${id}`,
          });
        } catch (error) {
          await annotate(client, updateGroup, name, { [LOCK_MACHINE_ANNOTATION]: null });
          throw error instanceof Failure
            ? new Failure(
                `there was no slot of ${name} for ${id} within a minute, and none is taken: \`kubectl slipway locks list\` shows who holds them`,
              )
            : error;
        }
        io.out(`updategroup/${name} slot taken for ${id}\n`);
      });
    });
}

export function unlockCommand(io: Io): Command {
  return new Command("unlock")
    .description("Let a held node take part again; or free the slot of a machine that is not down.")
    .argument("<group>")
    .argument("<id>", "a Node, or a machine as the list names it")
    .requiredOption("--reason <text>", "why; it is written to the journal")
    .option("-y, --yes", "do not ask")
    .action(async (name: string, id: string, _: unknown, self: Command) => {
      const { reason, yes, ...flags } = self.optsWithGlobals<LockFlags>();
      await withClient(flags, io, async (client) => {
        await need<UpdateGroup>(client, updateGroup, name);
        const member = await memberOf(client, name, id);
        if (member === undefined) return await stealMachine(client, io, name, id, reason, yes);
        if (member.held) return await setHold(client, io, id, null);
        await stealSlot(client, io, id, reason, yes);
      });
    });
}

export function setMaxCommand(io: Io): Command {
  return new Command("set-max")
    .description("Set how many of a group may be down; 0 pauses it.")
    .argument("<group>")
    .argument("<number>")
    .option("--force", "take the field from whoever declares it; it may be set back")
    .action(async (name: string, text: string, _: unknown, self: Command) => {
      const { force = false, ...flags } = self.optsWithGlobals<GlobalFlags & { force?: boolean }>();
      if (!/^\d{1,6}$/.test(text)) throw new Failure(`${text} is no number of machines`);
      const max = Number(text);
      await withClient(flags, io, (client) => setMax(client, io, name, max, force));
    });
}

async function setMax(
  client: Pick<KubeClient, "get" | "apply" | "patch">,
  io: Io,
  name: string,
  max: number,
  force: boolean,
): Promise<void> {
  const group = await need<UpdateGroup>(client, updateGroup, name);
  const { apiVersion, kind, metadata, spec } = group;
  const { uid, resourceVersion } = metadata;
  if (max === 0) {
    const [owner] = spec.paused ? [] : declarersOf(group, "spec.paused");
    if (owner !== undefined && !force) throw owned(name, "spec.paused", owner);
    // As it was looked at: somebody may declare it meanwhile.
    const body = { metadata: { resourceVersion }, spec: { paused: true } };
    await client.patch(updateGroup, { name }, { type: "merge", body });
    return io.out(`updategroup/${name} paused: max 0\n`);
  }
  const about = { apiVersion, kind, metadata: { name, ...(uid === undefined ? {} : { uid }) } };
  const object = { ...about, spec: { maxUnavailable: max } };
  try {
    await applyUndeclared(client, updateGroup, object, { fieldManager: KUBECTL_SLIPWAY, force });
  } catch (error) {
    if (!(error instanceof FieldOwned)) throw error;
    throw owned(name, error.field, error.owner);
  }
  io.out(`updategroup/${name} old max ${spec.maxUnavailable}, max ${max}\n`);
  if (spec.paused)
    io.err(`note: ${name} is paused; \`kubectl slipway rollout resume ${name}\` lets it go on\n`);
}

function owned(name: string, field: string, owner: string): Failure {
  return new Failure(
    `${field} of UpdateGroup ${name} belongs to ${owner}: change it there, or give --force, and it may be set back`,
  );
}

/** Whether `id` is a node of the group, by the name of its NodeUpdate or its machine id; undefined if it is none. */
async function memberOf(
  client: Pick<KubeClient, "get" | "list">,
  group: string,
  id: string,
): Promise<{ held: boolean } | undefined> {
  const { items } = await client.list<NodeUpdate>(nodeUpdate);
  const update = items.find(
    ({ metadata, spec }) => metadata.name === id || spec.machineRef?.machineId === id,
  );
  if (update === undefined) return undefined;
  if (update.spec.group !== group) {
    throw new Failure(`${id} is in UpdateGroup ${update.spec.group}, not in ${group}`);
  }
  const { nodeName } = update.spec;
  const node = nodeName === undefined ? undefined : await find<Node>(client, NODES, nodeName);
  const held = [node, update].some((one) => one?.metadata.annotations?.[HOLD_ANNOTATION] !== undefined);
  return { held };
}

function unknown(id: string, group: string): Failure {
  return new Failure(
    `${id} is no node of ${group}, and ${group} serves no machines without our agent: set spec.machines`,
  );
}
