/** Channels, and the releases that they may point at. */
import type { Release } from "../../contract.ts";
import { ChannelActions, ReleaseActions } from "../actions.tsx";
import { useApp } from "../app-context.ts";
import { commands } from "../commands.ts";
import { byName } from "../format.ts";
import { Badge } from "../parts/badge.tsx";
import { GroupLinks } from "../parts/links.tsx";
import { CommandButton, Num } from "../parts/number.tsx";
import { Table } from "../parts/table.tsx";
import { Ago } from "../parts/time.tsx";

/** Promotions of a channel that are listed. */
const PROMOTIONS = 5;

export function ReleasesView() {
  return (
    <>
      <Channels />
      <Releases />
    </>
  );
}

function Channels() {
  const channels = useApp().model.channels.value;
  if (channels === undefined) return <p class="empty">Reading the channels …</p>;
  return (
    <section aria-labelledby="channels">
      <h2 id="channels">Channels</h2>
      <Table
        caption="Channels"
        items={[...channels.values()].sort((a, b) => byName(a.name, b.name))}
        rowKey={({ name }) => name}
        empty="There is no Channel."
        columns={[
          {
            head: "Channel",
            header: true,
            cell: ({ name, kubectl }) => (
              <>
                {name} <CommandButton command={kubectl} of={`channel ${name}`} />
              </>
            ),
          },
          {
            head: "Points at",
            cell: ({ release, version, refused }) => (
              <>
                {release}{" "}
                {version !== undefined && version !== release && <span class="note">{version}</span>}
                {refused !== undefined && <p class="bad">{refused.message}</p>}
              </>
            ),
          },
          { head: "Before", cell: ({ previous }) => previous ?? "" },
          { head: "Groups", cell: ({ groups }) => <GroupLinks names={groups} /> },
          {
            head: "Promotions",
            cell: ({ promotions }) => (
              <ul class="plain">
                {promotions.slice(0, PROMOTIONS).map(({ release, time }) => (
                  <li key={time}>
                    {release}, <Ago time={time} />
                  </li>
                ))}
              </ul>
            ),
          },
          { head: "Actions", cell: (channel) => <ChannelActions channel={channel} /> },
        ]}
      />
    </section>
  );
}

function newestFirst(a: Release, b: Release): number {
  return (b.createdAt ?? "").localeCompare(a.createdAt ?? "") || byName(b.name, a.name);
}

function Releases() {
  const releases = useApp().model.releases.value;
  if (releases === undefined) return <p class="empty">Reading the releases …</p>;
  return (
    <section aria-labelledby="releases">
      <h2 id="releases">Releases</h2>
      <Table
        caption="Releases"
        items={[...releases.values()].sort(newestFirst)}
        rowKey={({ name }) => name}
        empty="There is no Release."
        columns={[
          {
            head: "Release",
            header: true,
            cell: ({ name, kubectl }) => (
              <>
                {name} <CommandButton command={kubectl} of={`release ${name}`} />
              </>
            ),
          },
          { head: "Version", cell: ({ version }) => version },
          {
            head: "State",
            cell: ({ quarantined, quarantinedBy, refused, steppingStone }) => (
              <>
                {quarantined === undefined ? (
                  <Badge sign="✓" label="Usable" tone="good" />
                ) : (
                  <Badge sign="✕" label="Quarantined" tone="bad" />
                )}
                {steppingStone && <span class="note"> stepping stone</span>}
                {quarantined !== undefined && <p>{quarantined.message}</p>}
                {quarantinedBy === "Halt" && <p class="note">A retry of the halted group lifts it.</p>}
                {refused !== undefined && <p class="bad">{refused.message}</p>}
              </>
            ),
          },
          {
            head: "Running",
            number: true,
            cell: ({ name, running }) => (
              <Num value={running} of={`run ${name}`} command={commands.release(name, "running")} />
            ),
          },
          {
            head: "Failed",
            number: true,
            cell: ({ name, failed }) => (
              <Num value={failed} of={`failed on ${name}`} command={commands.release(name, "failed")} />
            ),
          },
          { head: "Target of", cell: ({ groups }) => <GroupLinks names={groups} /> },
          { head: "Architectures", cell: ({ architectures }) => architectures.join(", ") },
          { head: "Declared", cell: ({ createdAt }) => <Ago time={createdAt} /> },
          { head: "Actions", cell: (release) => <ReleaseActions release={release} /> },
        ]}
      />
    </section>
  );
}
