/** `kubectl slipway node`, and `apply`: what a person decides about one node. */
import { Command } from "commander";
import {
  APPLY_ANNOTATION,
  HOLD_ANNOTATION,
  REBOOT_ANNOTATION,
  REBOOT_IN_FREEZE_ANNOTATION,
  RETRIED_ANNOTATION,
  RETRY_ANNOTATION,
} from "../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type Release, release } from "../api/release.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import type { KubeClient } from "../runtime/client.ts";
import { NODES } from "../runtime/core.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { Failure, type Io } from "./io.ts";
import { annotate, find, need, needNode, needUpdate, waitFor } from "./write.ts";

/** The manager looks at changes at once; this is for a busy one. */
const FORGET_WITHIN = 30_000;

export function nodeCommand(io: Io): Command {
  const node = new Command("node").description("Hold a node back, let it try again, or reboot it.");
  node
    .command("hold")
    .description("Keep a node out of everything: no slot, no image, until `unhold`.")
    .argument("<node>")
    .requiredOption("--reason <text>", "why; everybody who asks is told")
    .action(async (name: string, _: unknown, self: Command) => {
      const { reason, ...flags } = self.optsWithGlobals<GlobalFlags & { reason: string }>();
      await withClient(flags, io, (client) => setHold(client, io, name, reason));
    });
  node
    .command("unhold")
    .description("Let a held node take part again.")
    .argument("<node>")
    .action(async (name: string, _: unknown, self: Command) => {
      await withClient(self.optsWithGlobals<GlobalFlags>(), io, (client) => setHold(client, io, name, null));
    });
  node
    .command("retry")
    .description("Let a node try a release once more that failed there.")
    .argument("<node>")
    .option("--release <name>", "the release (default: the one that failed there last)")
    .action(async (name: string, _: unknown, self: Command) => {
      const { release: wanted, ...flags } = self.optsWithGlobals<GlobalFlags & { release?: string }>();
      await withClient(flags, io, (client) => retry(client, io, name, wanted));
    });
  node
    .command("reboot")
    .description("Reboot a node once, as soon as its budgets allow.")
    .argument("<node>")
    .requiredOption(
      "--now",
      "do not wait for a reboot window; budgets, the drain and change freezes still bind",
    )
    .requiredOption("--reason <text>", "why; it is written to the NodeUpdate and its history")
    .option("--in-freeze", "in a change freeze too")
    .action(async (name: string, _: unknown, self: Command) => {
      const { reason, inFreeze, ...flags } = self.optsWithGlobals<
        GlobalFlags & { reason: string; inFreeze?: boolean }
      >();
      await withClient(flags, io, async (client) => {
        const update = await needUpdate(client, name);
        await refuseHeld(client, name);
        const word = oneLine(reason);
        if (word === update.status?.rebooted)
          throw new Failure(`"${word}" rebooted ${name} before: give another reason, or nothing happens`);
        await annotate(client, nodeUpdate, update.metadata.name, {
          [REBOOT_ANNOTATION]: word,
          // One that was left by an earlier request must not speak for this one.
          [REBOOT_IN_FREEZE_ANNOTATION]: inFreeze === true ? "yes" : null,
        });
        io.out(`nodeupdate/${update.metadata.name} reboot asked\n`);
      });
    });
  return node;
}

export function applyCommand(io: Io): Command {
  return new Command("apply")
    .description("Let one node of a group with strategy Off flip to what it has staged, and reboot.")
    .argument("<node>")
    .action(async (name: string, _: unknown, self: Command) => {
      await withClient(self.optsWithGlobals<GlobalFlags>(), io, (client) => apply(client, io, name));
    });
}

/** Annotations may hold anything; sentences that quote them may not. */
export function oneLine(reason: string): string {
  const line = reason.replaceAll(/\s+/g, " ").trim().slice(0, 253);
  if (line === "") throw new Failure("--reason is empty: say why, for whoever asks next");
  return line;
}

/** On the Node; a plain machine has none, so on its NodeUpdate. `null`: nobody holds it any more. */
export async function setHold(
  client: Pick<KubeClient, "get" | "list" | "patch">,
  io: Io,
  name: string,
  reason: string | null,
): Promise<void> {
  const { node, update } = await needNode(client, name);
  const value = { [HOLD_ANNOTATION]: reason === null ? null : oneLine(reason) };
  const done = reason === null ? "unheld" : "held";
  if (node !== undefined) {
    await annotate(client, NODES, node.metadata.name, value);
    io.out(`node/${node.metadata.name} ${done}\n`);
  }
  const onUpdate = update?.metadata.annotations?.[HOLD_ANNOTATION] !== undefined;
  if (update !== undefined && (node === undefined || (reason === null && onUpdate))) {
    await annotate(client, nodeUpdate, update.metadata.name, value);
    io.out(`nodeupdate/${update.metadata.name} ${done}\n`);
  }
  if (update === undefined)
    io.err(`note: no UpdateGroup has taken up ${name} yet; the hold stands for when one does\n`);
  const phase = update?.status?.grant?.phase;
  if (reason !== null && phase === "Committed") {
    io.err(`note: ${name} has committed to its reboot, which this no longer stops\n`);
  }
}

async function retry(
  client: Pick<KubeClient, "get" | "list" | "patch">,
  io: Io,
  node: string,
  wanted: string | undefined,
): Promise<void> {
  const update = await needUpdate(client, node);
  const { name, annotations = {} } = update.metadata;
  const failed = (update.status?.failed ?? []).flatMap(({ release: of }) => of ?? []);
  const chosen = wanted ?? failed[0];
  if (chosen === undefined) throw new Failure(`no release failed on ${node}: there is nothing to retry`);
  if (wanted !== undefined && !failed.includes(wanted)) {
    throw new Failure(`${wanted} has not failed on ${node}; failed there: ${failed.join(", ") || "none"}`);
  }
  // A permission is good for one failure: one that is spent has to go before a new one counts.
  if (annotations[RETRY_ANNOTATION] === chosen && annotations[RETRIED_ANNOTATION] !== undefined) {
    await annotate(client, nodeUpdate, name, { [RETRY_ANNOTATION]: null });
    await waitFor(
      io,
      `the manager forgets the last retry of ${chosen} on ${node}`,
      FORGET_WITHIN,
      async () => {
        const now = await need<NodeUpdate>(client, nodeUpdate, name);
        return now.metadata.annotations?.[RETRIED_ANNOTATION] === undefined ? true : undefined;
      },
    );
  }
  await annotate(client, nodeUpdate, name, { [RETRY_ANNOTATION]: chosen });
  io.out(`nodeupdate/${name} may try ${chosen} once more\n`);
  const target = await find<Release>(client, release, chosen);
  const quarantined = target?.status?.conditions?.some(
    ({ type, status }) => type === "Quarantined" && status === "True",
  );
  if (quarantined === true) {
    io.err(
      `note: Release ${chosen} is quarantined, which binds first: \`kubectl slipway rollout retry ${update.spec.group} --reason "..."\` lifts that\n`,
    );
  }
}

async function refuseHeld(client: Pick<KubeClient, "get" | "list">, name: string): Promise<void> {
  const { node, update } = await needNode(client, name);
  const held =
    node?.metadata.annotations?.[HOLD_ANNOTATION] ?? update?.metadata.annotations?.[HOLD_ANNOTATION];
  if (held !== undefined)
    throw new Failure(`${name} is held (${held}): \`kubectl slipway node unhold ${name}\` first`);
}

async function apply(
  client: Pick<KubeClient, "get" | "list" | "patch">,
  io: Io,
  name: string,
): Promise<void> {
  const update = await needUpdate(client, name);
  await refuseHeld(client, name);
  const group = await need<UpdateGroup>(client, updateGroup, update.spec.group);
  if (group.spec.strategy !== "Off") {
    throw new Failure(
      `UpdateGroup ${update.spec.group} has strategy ${group.spec.strategy}, so its nodes flip by themselves: \`kubectl slipway why ${name}\` says what this one waits for`,
    );
  }
  if (update.status?.step !== "Staged" || update.spec.release === undefined) {
    throw new Failure(`nothing is staged on ${name}: \`kubectl slipway why ${name}\` says why`);
  }
  await annotate(client, nodeUpdate, update.metadata.name, { [APPLY_ANNOTATION]: update.spec.release });
  io.out(`nodeupdate/${update.metadata.name} may flip to ${update.spec.release}\n`);
}
