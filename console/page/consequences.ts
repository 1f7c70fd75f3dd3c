/** What a write will do, in the sentences that a person reads before it is done. */
import type { Channel, Group, Release } from "../contract.ts";
import { count, plural } from "./format.ts";

const remaining = ({ counts }: Group): number => Math.max(0, counts.nodes - counts.updated - counts.failed);

export function pausing(group: Group): string[] {
  const { inFlight } = group.counts;
  return [
    `Nothing new begins in ${group.name}: ${plural(remaining(group), "machine")} that ${remaining(group) === 1 ? "does" : "do"} not run the target yet will wait.`,
    inFlight === 0
      ? "No machine is under way."
      : `${plural(inFlight, "machine")} ${inFlight === 1 ? "is" : "are"} under way: what has committed to its reboot ends it, the rest gives its slot back.`,
    "It binds as soon as the gateways have it, within seconds.",
  ];
}

export function resuming(group: Group): string[] {
  return [
    `${group.name} goes on to ${target(group)}: ${plural(remaining(group), "machine")} may begin, ${most(group)}.`,
    "Windows, stages and budgets hold as before.",
  ];
}

export function retrying(group: Group): string[] {
  const failed = group.failures.map(({ machine }) => machine);
  return [
    `${group.name} forgets ${plural(group.failures.length, "failure")} and tries ${target(group)} on other machines, ${most(group)}.`,
    ...(failed.length === 0
      ? []
      : [`${failed.slice(0, 5).join(", ")}${failed.length > 5 ? " and others" : ""} will not try it again.`]),
    "The release is no longer quarantined by this group; if it is bad, more machines will fail on it.",
  ];
}

export function rollingBack(group: Group, to: string, channels: Iterable<Channel>): string[] {
  const followed = [...channels].find(({ name }) => name === group.channel);
  const others = followed?.groups.filter((name) => name !== group.name) ?? [];
  return [
    `Every machine of ${group.name} is permitted to go back to ${to}, although it is older.`,
    followed === undefined
      ? `${group.name} is pinned to ${to}.`
      : `Channel ${followed.name} points at ${to} from then on.`,
    ...(others.length === 0
      ? []
      : [
          `${others.join(", ")} ${others.length === 1 ? "follows" : "follow"} the channel too, and will not move back by this.`,
        ]),
    `${plural(group.counts.updated, "machine")} may reboot, ${most(group)}.`,
  ];
}

export function promoting(channel: Channel, release: Release, groups: Iterable<Group>): string[] {
  const followers = [...groups].filter((group) => group.channel === channel.name);
  const machines = followers.reduce((sum, { counts }) => sum + counts.nodes + counts.foreign, 0);
  const paused = followers.filter((group) => group.paused).map(({ name }) => name);
  return [
    `Channel ${channel.name} points at ${release.name} (${release.version}) instead of ${channel.release}.`,
    followers.length === 0
      ? "No group follows it: nothing moves."
      : `${followers.map(({ name }) => name).join(", ")} ${followers.length === 1 ? "moves" : "move"} to it: ${plural(machines, "machine")}, stage by stage from the first.`,
    ...(paused.length === 0
      ? []
      : [`${paused.join(", ")} ${paused.length === 1 ? "is" : "are"} paused, and will not begin.`]),
    ...channel.architectures.map(({ architecture, release: own }) => `${architecture} stays at ${own}.`),
  ];
}

export function quarantining(release: Release, groups: Iterable<Group>): string[] {
  const targets = [...groups].filter(({ target }) => target === release.name).map(({ name }) => name);
  return [
    `${release.name} is no target any more: each machine keeps what it runs, and nothing new moves to it.`,
    targets.length === 0
      ? "No group moves to it now."
      : `${targets.join(", ")} ${targets.length === 1 ? "stops" : "stop"}.`,
    `${plural(release.running, "machine")} that ${release.running === 1 ? "runs" : "run"} it already ${release.running === 1 ? "is" : "are"} left alone.`,
  ];
}

export function lifting(release: Release): string[] {
  return [`${release.name} may be a target again: groups that point at it go on.`];
}

export function assigning(machines: readonly string[], group: string): string[] {
  const named = machines.slice(0, 8).join(", ");
  return [
    `${plural(machines.length, "machine")} ${machines.length === 1 ? "becomes" : "become"} part of ${group}: ${named}${machines.length > 8 ? ` and ${count(machines.length - 8)} more` : ""}.`,
    "From then on that group's channel, windows and budget hold for them. What is under way ends first.",
  ];
}

export function stealing(machine: string): string[] {
  return [
    `The slot of ${machine} is freed although nothing says that it is back: another machine may go down.`,
    "If it is down still, more machines are down than the budget allows.",
  ];
}

function most({ counts }: Group): string {
  return counts.limit === undefined ? "within its budgets" : `at most ${count(counts.limit)} down at a time`;
}

function target({ target, version }: Group): string {
  return target === undefined ? "its target" : version === undefined ? target : `${target} (${version})`;
}
