/** `kubectl slipway rollout`: what a person decides about a group or a channel. */
import { Command } from "commander";
import { type Channel, channel } from "../api/channel.ts";
import { DOWNGRADE_ANNOTATION, QUARANTINE_ANNOTATION, RESUME_ANNOTATION } from "../api/labels.ts";
import { type KubeObject, timestamp } from "../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type Release, release } from "../api/release.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { compareVersions } from "../api/version.ts";
import type { RestClient } from "../runtime/rest-client.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { conditionOf, holds, isImageOf } from "./explain/subject.ts";
import { names } from "./explain/words.ts";
import { forecast } from "./forecast.ts";
import { printForecast } from "./forecast-text.ts";
import { Failure, type Io } from "./io.ts";
import { oneLine } from "./node.ts";
import { addOutputFlag, type OutputFlags, printObjects } from "./output.ts";
import { printRollout } from "./rollout-text.ts";
import { readSnapshot } from "./snapshot.ts";
import { annotate, need, waitFor } from "./write.ts";

/** Gates are renewed every 10 s. */
const BINDS_WITHIN = 60_000;

export function rolloutCommand(io: Io): Command {
  const rollout = new Command("rollout")
    .description("Pause, resume, retry, promote, roll back; or say what a rollout would do.")
    .argument("[group]", "with --dry-run: the UpdateGroup")
    .option("--dry-run", "say what would happen to which node, and when; change nothing")
    .option("--release <name>", "with --dry-run: a release that the group does not move to yet")
    .action(async (group: string | undefined, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<
        GlobalFlags & OutputFlags & { dryRun?: boolean; release?: string }
      >();
      if (group === undefined || flags.dryRun !== true) return self.help({ error: true });
      await withClient(flags, io, (client) => dryRun(client, io, group, flags.release, flags));
    });
  addOutputFlag(rollout, ["json", "yaml"]);
  addPause(rollout, io);
  addRetry(rollout, io);
  addPromote(rollout, io);
  addRollback(rollout, io);
  rollout
    .command("status")
    .description("Say how far a group has come: target, stages, failures, and what each node waits for.")
    .argument("<group>")
    .option(
      "--wait",
      "until every node runs the target (exit code 0), or the group stops itself (exit code 1)",
    )
    .action(async (group: string, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags & { wait?: boolean }>();
      await withClient(flags, io, (client) => showStatus(client, io, group, flags));
    });
  return rollout;
}

function addPause(rollout: Command, io: Io): void {
  for (const [verb, paused, description] of [
    ["pause", true, "Let nothing new begin in a group; what has committed ends."],
    ["resume", false, "Let a paused group go on."],
  ] as const) {
    rollout
      .command(verb)
      .description(description)
      .argument("<group>")
      .option("--wait", "until it binds every slot and commit")
      .action(async (name: string, _: unknown, self: Command) => {
        const { wait, ...flags } = self.optsWithGlobals<GlobalFlags & { wait?: boolean }>();
        await withClient(flags, io, async (client) => {
          await need<UpdateGroup>(client, updateGroup, name);
          const body = { spec: { paused } };
          const stored = await client.patch<UpdateGroup>(updateGroup, { name }, { type: "merge", body });
          io.out(`updategroup.slipway.dev/${name} ${verb}d\n`);
          if (wait !== true) return;
          const generation = stored.metadata.generation ?? 0;
          const gate = await waitFor(io, `the ${verb} of ${name} binds`, BINDS_WITHIN, async () => {
            const found = (await need<UpdateGroup>(client, updateGroup, name)).status?.gate;
            return found !== undefined && found.generation >= generation && found.paused === paused
              ? found
              : undefined;
          });
          io.out(`It binds since ${gate.since}.\n`);
        });
      });
  }
}

function addRetry(rollout: Command, io: Io): void {
  rollout
    .command("retry")
    .description("Go on after a halt: the failures are forgotten, and the release is tried on other nodes.")
    .argument("<group>")
    .requiredOption("--reason <text>", "why the failures were not the release's fault")
    .action(async (name: string, _: unknown, self: Command) => {
      const { reason, ...flags } = self.optsWithGlobals<GlobalFlags & { reason: string }>();
      await withClient(flags, io, async (client) => {
        const group = await need<UpdateGroup>(client, updateGroup, name);
        if (!holds(group, "Halted"))
          throw new Failure(`UpdateGroup ${name} is not halted: there is nothing to retry`);
        const word = `${timestamp(io.clock.now())} ${oneLine(reason)}`.slice(0, 253);
        await annotate(client, updateGroup, name, { [RESUME_ANNOTATION]: word });
        io.out(`updategroup.slipway.dev/${name} goes on\n`);
        const failed = (group.status?.failures ?? []).map(({ node }) => node);
        if (failed.length > 0)
          io.err(
            `note: ${names(failed, 10)} failed on it and will not try it again; \`kubectl slipway node retry NODE\` lets one\n`,
          );
      });
    });
}

function addPromote(rollout: Command, io: Io): void {
  rollout
    .command("promote")
    .description("Point a channel at a release: every group that follows the channel moves to it.")
    .argument("<channel>")
    .argument("<release>")
    .option("--dry-run", "say what would happen to which node, and when; change nothing")
    .action(async (name: string, to: string, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags & { dryRun?: boolean }>();
      await withClient(flags, io, (client) => promote(client, io, name, to, flags));
    });
}

async function promote(
  client: RestClient,
  io: Io,
  name: string,
  to: string,
  flags: GlobalFlags & OutputFlags & { dryRun?: boolean },
): Promise<void> {
  const [found, target] = await Promise.all([
    need<Channel>(client, channel, name),
    need<Release>(client, release, to),
  ]);
  const groups = (await client.list<UpdateGroup>(updateGroup)).items.filter(
    ({ spec }) => spec.channel === name,
  );
  if (flags.dryRun === true) {
    if (groups.length === 0) io.out(`No UpdateGroup follows Channel ${name}: nothing would move.\n`);
    for (const { metadata } of groups) await dryRun(client, io, metadata.name, to, flags);
    return;
  }
  const accepted = conditionOf(target, "Accepted");
  if (accepted?.status === "False")
    throw new Failure(`Release ${to} can't be given out: ${accepted.message}`);
  const quarantined = conditionOf(target, "Quarantined");
  if (quarantined?.status === "True") {
    const byPerson = target.metadata.annotations?.[QUARANTINE_ANNOTATION] !== undefined;
    const lift = byPerson
      ? `kubectl annotate release ${to} ${QUARANTINE_ANNOTATION}-`
      : "kubectl slipway rollout retry GROUP";
    throw new Failure(
      `Release ${to} is quarantined: ${quarantined.message} Publish a corrected one, or \`${lift}\` first`,
    );
  }
  if (found.spec.release === to) {
    io.out(`channel.slipway.dev/${name} points at ${to} already\n`);
    return;
  }
  await client.patch(channel, { name }, { type: "merge", body: { spec: { release: to } } });
  io.out(`channel.slipway.dev/${name} promoted to ${to}\n`);
  const others =
    found.spec.architectures?.map(({ architecture, release: own }) => `${architecture} stays at ${own}`) ??
    [];
  if (others.length > 0) io.err(`note: ${others.join(", ")} (spec.architectures)\n`);
  const paused = groups.filter(({ spec }) => spec.paused).map(({ metadata }) => metadata.name);
  if (paused.length > 0) io.err(`note: ${names(paused, 10)} ${paused.length === 1 ? "is" : "are"} paused\n`);
}

function addRollback(rollout: Command, io: Io): void {
  rollout
    .command("rollback")
    .description("Go back to the release before, or to another; a person's recorded permission to downgrade.")
    .argument("<group>")
    .option("--to <release>", "the release to go back to (default: the channel's previous one)")
    .option("--node <name...>", "permit it to these nodes only, and leave channel and group as they are")
    .option("--dry-run", "say what would be written; change nothing")
    .action(async (name: string, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & { to?: string; node?: string[]; dryRun?: boolean }>();
      await withClient(flags, io, (client) => rollback(client, io, name, flags));
    });
}

/** Throws `Failure` for a group whose driver knows no releases. */
export function needsReleases({ metadata, spec }: UpdateGroup): void {
  if (spec.driver !== "sentinel") return;
  throw new Failure(
    `UpdateGroup ${metadata.name} only reboots its nodes (driver sentinel): it has no release to move to or go back to; \`kubectl slipway status\` says what its nodes wait for`,
  );
}

async function rollback(
  client: RestClient,
  io: Io,
  name: string,
  { to, node: only, dryRun: dry }: { to?: string; node?: string[]; dryRun?: boolean },
): Promise<void> {
  const group = await need<UpdateGroup>(client, updateGroup, name);
  needsReleases(group);
  const followed =
    group.spec.channel === undefined ? undefined : await need<Channel>(client, channel, group.spec.channel);
  const wanted =
    to ?? (only === undefined ? followed?.status?.previous : (followed?.spec.release ?? group.spec.release));
  if (wanted === undefined)
    throw new Failure(`there is no release before: say which by --to; \`kubectl get releases\` lists them`);
  const target = await need<Release>(client, release, wanted);
  if (holds(target, "Quarantined"))
    throw new Failure(`Release ${wanted} is quarantined: go back to another one, by --to`);
  const updates = (await client.list<NodeUpdate>(nodeUpdate)).items.filter(({ spec }) => spec.group === name);
  const unknown = only?.find((one) => !updates.some(({ metadata }) => metadata.name === one));
  if (unknown !== undefined) throw new Failure(`UpdateGroup ${name} has no node ${unknown}`);
  const done = dry === true ? " (dry run)" : "";
  // Permission first: the release moves only when every node may follow.
  for (const { metadata, status } of updates) {
    if (only !== undefined && !only.includes(metadata.name)) continue;
    if (isImageOf(target, status?.runningRootHash)) continue;
    // Versions that are not known yet may be newer.
    if (status?.running !== undefined && compareVersions(status.running, target.spec.version) < 0) continue;
    if (dry !== true) await annotate(client, nodeUpdate, metadata.name, { [DOWNGRADE_ANNOTATION]: wanted });
    io.out(`nodeupdate.slipway.dev/${metadata.name} may go back to ${wanted}${done}\n`);
  }
  if (only !== undefined) return;
  if (followed !== undefined && followed.spec.release !== wanted) {
    const body = { spec: { release: wanted } };
    const key = { name: followed.metadata.name };
    if (dry !== true) await client.patch(channel, key, { type: "merge", body });
    io.out(`channel.slipway.dev/${key.name} points at ${wanted}${done}\n`);
    const others = (await client.list<UpdateGroup>(updateGroup)).items.filter(
      (other) => other.spec.channel === key.name && other.metadata.name !== name,
    );
    if (others.length > 0) {
      io.err(
        `note: ${names(
          others.map(({ metadata }) => metadata.name),
          10,
        )} follow it too; their nodes keep newer systems unless permitted: \`kubectl slipway rollout rollback GROUP --to ${wanted}\`\n`,
      );
    }
  } else if (followed === undefined && group.spec.release !== wanted) {
    if (dry !== true)
      await client.patch(updateGroup, { name }, { type: "merge", body: { spec: { release: wanted } } });
    io.out(`updategroup.slipway.dev/${name} is pinned to ${wanted}${done}\n`);
  }
}

async function dryRun(
  client: RestClient,
  io: Io,
  name: string,
  wanted: string | undefined,
  flags: GlobalFlags & OutputFlags,
): Promise<void> {
  const snapshot = await readSnapshot(client, flags.namespace);
  const group = snapshot.groups.find(({ metadata }) => metadata.name === name);
  if (group === undefined)
    throw new Failure(`there is no UpdateGroup ${name}: \`kubectl get updategroups\` lists them`);
  needsReleases(group);
  const followed = snapshot.channels.find(({ metadata }) => metadata.name === group.spec.channel);
  const to = wanted ?? group.spec.release ?? followed?.spec.release;
  const target = snapshot.releases.find(({ metadata }) => metadata.name === to);
  if (target === undefined) {
    throw new Failure(
      to === undefined
        ? `UpdateGroup ${name} has no release to move to: say which by --release`
        : `there is no Release ${to}: \`kubectl get releases\` lists them`,
    );
  }
  const now = io.clock.now();
  printForecast(io, forecast(snapshot, group, target, now), now, flags.output);
}

const LOOK_EVERY_FOR = 24 * 3_600_000;

async function showStatus(
  client: RestClient,
  io: Io,
  name: string,
  flags: GlobalFlags & OutputFlags & { wait?: boolean },
): Promise<void> {
  const read = async (): Promise<UpdateGroup> => await need<UpdateGroup>(client, updateGroup, name);
  if (flags.wait === true) {
    await waitFor(io, `every node of ${name} runs its target`, LOOK_EVERY_FOR, async () => {
      const group = await read();
      const current = group.metadata.generation === group.status?.observedGeneration;
      return current && (holds(group, "Ready") || holds(group, "Halted")) ? true : undefined;
    });
  }
  const group = await read();
  const updates = (await client.list<NodeUpdate>(nodeUpdate)).items.filter(({ spec }) => spec.group === name);
  if (flags.output === undefined) printRollout(io, group, updates, io.clock.now());
  else printObjects<KubeObject>(io, [group, ...updates], [], flags.output);
  const halted = conditionOf(group, "Halted");
  if (flags.wait === true && halted?.status === "True")
    throw new Failure(`UpdateGroup ${name} stopped itself: ${halted.message}`);
}
