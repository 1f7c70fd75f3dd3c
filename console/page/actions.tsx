/** The writes of each view. */
import type { Channel, Group, Release } from "../contract.ts";
import { writes } from "./api.ts";
import { useApp } from "./app-context.ts";
import {
  assigning,
  lifting,
  pausing,
  promoting,
  quarantining,
  resuming,
  retrying,
  rollingBack,
  stealing,
} from "./consequences.ts";
import { plural } from "./format.ts";
import { Offered, Offers } from "./parts/offer.tsx";

export function GroupActions({ group }: { group: Group }) {
  const channels = useApp().model.channels.value?.values() ?? [];
  const { name, previous } = group;
  const pause = { may: "pause", of: name, body: {}, forcible: true } as const;
  return (
    <Offers
      list={[
        group.state === "Halted" && {
          ...{ may: "retry", label: "Retry", of: name, title: `Retry ${name} after its halt` },
          ...{ consequences: retrying(group), path: writes.retry(name), danger: true, calm: true },
          reason: "Why the failures were not the release's fault",
        },
        group.paused
          ? {
              ...{ ...pause, label: "Resume", title: `Resume ${name}` },
              ...{ consequences: resuming(group), path: writes.resume(name) },
            }
          : {
              ...{ ...pause, label: "Pause", title: `Pause ${name}` },
              ...{ consequences: pausing(group), path: writes.pause(name) },
            },
        previous !== undefined && {
          ...{ may: "rollback", label: "Roll back", of: name, title: `Roll ${name} back to ${previous}` },
          ...{ consequences: rollingBack(group, previous, channels), path: writes.rollback(name) },
          ...{ body: { to: previous }, danger: true, forcible: true },
        },
      ]}
    />
  );
}

export function ChannelActions({ channel }: { channel: Channel }) {
  const { model } = useApp();
  const { name } = channel;
  const groups = [...(model.groups.value?.values() ?? [])];
  const givable = [...(model.releases.value?.values() ?? [])].filter(
    (release) =>
      release.name !== channel.release && release.quarantined === undefined && release.refused === undefined,
  );
  // Newest first: that is the one that is promoted.
  givable.sort((a, b) => (b.createdAt ?? "").localeCompare(a.createdAt ?? ""));
  const said = (chosen: string): readonly string[] =>
    givable
      .filter((release) => release.name === chosen)
      .flatMap((release) => promoting(channel, release, groups));
  const options = givable.map((release) => release.name);
  return (
    <Offers
      list={[
        options.length > 0 && {
          ...{ may: "promote", label: "Promote", of: `channel ${name}`, path: writes.promote(name) },
          ...{ title: `Promote a release to ${name}`, consequences: [], forcible: true },
          choice: { label: "Release", field: "release", options, consequences: said },
        },
      ]}
    />
  );
}

export function ReleaseActions({ release }: { release: Release }) {
  const groups = useApp().model.groups.value?.values() ?? [];
  const { name, quarantinedBy } = release;
  return (
    <Offers
      list={[
        quarantinedBy === "Person" && {
          ...{ may: "quarantine", label: "Lift quarantine", of: `of ${name}`, confirm: "Lift" },
          ...{ title: `Lift the quarantine of ${name}`, reason: "Why it may go on" },
          ...{ consequences: lifting(release), path: writes.lift(name) },
        },
        quarantinedBy === undefined && {
          ...{ may: "quarantine", label: "Quarantine", of: name, title: `Quarantine ${name}`, reason: "Why" },
          ...{ consequences: quarantining(release, groups), path: writes.quarantine(name), danger: true },
        },
      ]}
    />
  );
}

/** `machines`: [uid, name] of each. */
export function AssignAction({ machines }: { machines: readonly (readonly [string, string])[] }) {
  const options = [...(useApp().model.groups.value?.keys() ?? [])];
  if (options.length === 0 || machines.length === 0) return null;
  const names = machines.map(([, name]) => name);
  const many = plural(machines.length, "machine");
  return (
    <Offered
      offer={{
        ...{ may: "assign", label: "Assign to a group", of: many, confirm: "Assign" },
        title: `Assign ${machines.length === 1 ? names[0] : many}`,
        ...{ consequences: [], path: writes.assign(), body: { machines: machines.map(([uid]) => uid) } },
        choice: {
          ...{ label: "Group", field: "group", options },
          consequences: (group) => assigning(names, group),
        },
      }}
    />
  );
}

export function StealAction({ uid, name, nonce }: { uid: string; name: string; nonce: string | undefined }) {
  return (
    <Offered
      offer={{
        ...{ may: "steal", label: "Free its slot", of: `of ${name}`, confirm: "Free the slot" },
        ...{ title: `Free the slot of ${name}`, reason: "How you know that it is not needed" },
        ...{ consequences: stealing(name), path: writes.steal(uid), danger: true },
        body: nonce === undefined ? {} : { nonce },
      }}
    />
  );
}
