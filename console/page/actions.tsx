/** The buttons that write: each is there only for whom RBAC lets do it, and asks first. */
import type { Channel, Group, Release } from "../contract.ts";
import { writes } from "./api.ts";
import { useApp, useMay } from "./app-context.ts";
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
import type { Question } from "./parts/question.tsx";

function Ask({
  label,
  of,
  question,
  danger,
}: {
  label: string;
  of: string;
  question: Question;
  danger?: boolean;
}) {
  const app = useApp();
  return (
    <button
      type="button"
      class={danger ? "danger-quiet" : ""}
      aria-haspopup="dialog"
      onClick={() => {
        app.question.value = question;
      }}
    >
      {label}
      <span class="unseen"> {of}</span>
    </button>
  );
}

export function GroupActions({ group }: { group: Group }) {
  const { model } = useApp();
  const [mayPause, mayRetry, mayRollBack] = [useMay("pause"), useMay("retry"), useMay("rollback")];
  const { name, previous } = group;
  const channels = model.channels.value?.values() ?? [];
  return (
    <div class="actions">
      {mayRetry && group.state === "Halted" && (
        <Ask
          label="Retry …"
          of={name}
          question={{
            title: `Retry ${name} after its halt`,
            consequences: retrying(group),
            confirm: "Retry",
            danger: true,
            reason: "Why the failures were not the release's fault",
            path: writes.retry(name),
          }}
        />
      )}
      {mayPause && group.paused && (
        <Ask
          label="Resume …"
          of={name}
          question={{
            title: `Resume ${name}`,
            consequences: resuming(group),
            confirm: "Resume",
            path: writes.resume(name),
            body: {},
            forcible: true,
          }}
        />
      )}
      {mayPause && !group.paused && (
        <Ask
          label="Pause …"
          of={name}
          question={{
            title: `Pause ${name}`,
            consequences: pausing(group),
            confirm: "Pause",
            path: writes.pause(name),
            body: {},
            forcible: true,
          }}
        />
      )}
      {mayRollBack && previous !== undefined && (
        <Ask
          danger
          label="Roll back …"
          of={name}
          question={{
            title: `Roll ${name} back to ${previous}`,
            consequences: rollingBack(group, previous, channels),
            confirm: "Roll back",
            danger: true,
            path: writes.rollback(name),
            body: { to: previous },
            forcible: true,
          }}
        />
      )}
    </div>
  );
}

export function ChannelActions({ channel }: { channel: Channel }) {
  const { model } = useApp();
  const releases = [...(model.releases.value?.values() ?? [])].filter(
    ({ name, quarantined, refused }) =>
      name !== channel.release && quarantined === undefined && refused === undefined,
  );
  // Newest first: that is the one that is promoted.
  releases.sort((a, b) => (b.createdAt ?? "").localeCompare(a.createdAt ?? ""));
  if (!useMay("promote") || releases.length === 0) return null;
  const groups = [...(model.groups.value?.values() ?? [])];
  return (
    <div class="actions">
      <Ask
        label="Promote …"
        of={`channel ${channel.name}`}
        question={{
          title: `Promote a release to ${channel.name}`,
          consequences: [],
          confirm: "Promote",
          path: writes.promote(channel.name),
          forcible: true,
          choice: {
            label: "Release",
            field: "release",
            options: releases.map(({ name }) => name),
            consequences: (chosen) => {
              const release = releases.find(({ name }) => name === chosen);
              return release === undefined ? [] : promoting(channel, release, groups);
            },
          },
        }}
      />
    </div>
  );
}

export function ReleaseActions({ release }: { release: Release }) {
  const { model } = useApp();
  const may = useMay("quarantine");
  if (!may) return null;
  const { name, quarantinedBy } = release;
  if (quarantinedBy === "Halt") return null;
  if (quarantinedBy === "Person") {
    return (
      <div class="actions">
        <Ask
          label="Lift quarantine …"
          of={`of ${name}`}
          question={{
            title: `Lift the quarantine of ${name}`,
            consequences: lifting(release),
            confirm: "Lift",
            reason: "Why it may go on",
            path: writes.lift(name),
          }}
        />
      </div>
    );
  }
  return (
    <div class="actions">
      <Ask
        danger
        label="Quarantine …"
        of={name}
        question={{
          title: `Quarantine ${name}`,
          consequences: quarantining(release, model.groups.value?.values() ?? []),
          confirm: "Quarantine",
          danger: true,
          reason: "Why",
          path: writes.quarantine(name),
        }}
      />
    </div>
  );
}

/** `machines`: [uid, name] of each. */
export function AssignAction({ machines }: { machines: readonly (readonly [string, string])[] }) {
  const { model } = useApp();
  const groups = [...(model.groups.value?.keys() ?? [])];
  if (!useMay("assign") || groups.length === 0 || machines.length === 0) return null;
  const names = machines.map(([, name]) => name);
  return (
    <Ask
      label="Assign to a group …"
      of={`${machines.length} machines`}
      question={{
        title: machines.length === 1 ? `Assign ${names[0]}` : `Assign ${machines.length} machines`,
        consequences: [],
        confirm: "Assign",
        path: writes.assign(),
        body: { machines: machines.map(([uid]) => uid) },
        choice: {
          label: "Group",
          field: "group",
          options: groups,
          consequences: (group) => assigning(names, group),
        },
      }}
    />
  );
}

export function StealAction({ uid, name, nonce }: { uid: string; name: string; nonce: string | undefined }) {
  if (!useMay("steal")) return null;
  return (
    <Ask
      danger
      label="Free its slot …"
      of={`of ${name}`}
      question={{
        title: `Free the slot of ${name}`,
        consequences: stealing(name),
        confirm: "Free the slot",
        danger: true,
        reason: "How you know that it is not needed",
        path: writes.steal(uid),
        ...(nonce === undefined ? {} : { body: { nonce } }),
      }}
    />
  );
}
