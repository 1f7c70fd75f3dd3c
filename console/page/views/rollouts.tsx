/** The first view: the fleet in numbers, then each group, those that need a person first. */
import type { Group } from "../../contract.ts";
import { GroupActions } from "../actions.tsx";
import { useApp } from "../app-context.ts";
import { commands } from "../commands.ts";
import { byName } from "../format.ts";
import { GroupBadge } from "../parts/badge.tsx";
import { VersionChart } from "../parts/chart.tsx";
import { CommandButton, Num } from "../parts/number.tsx";
import { Progress, Stages } from "../parts/progress.tsx";
import { Ago, At } from "../parts/time.tsx";
import { href } from "../route.ts";

const URGENCY: readonly Group["state"][] = ["Halted", "Updating", "Waiting", "Paused", "UpToDate", "Off"];

export function byUrgency(a: Group, b: Group): number {
  return URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state) || byName(a.name, b.name);
}

export function RolloutsView() {
  const { model } = useApp();
  const groups = model.groups.value;
  return (
    <>
      <FleetNumbers />
      {groups === undefined ? (
        <p class="empty">Reading the groups …</p>
      ) : groups.size === 0 ? (
        <p class="empty">
          There is no UpdateGroup yet. Nothing happens to a machine until a group selects it:{" "}
          <code>kubectl apply</code> one.
        </p>
      ) : (
        <div class="groups">
          {[...groups.values()].sort(byUrgency).map((group) => (
            <GroupCard key={group.name} group={group} />
          ))}
        </div>
      )}
      <section aria-labelledby="versions">
        <h2 id="versions">Versions in the fleet</h2>
        <VersionChart />
      </section>
    </>
  );
}

function FleetNumbers() {
  const fleet = useApp().model.fleet.value;
  if (fleet === undefined) return null;
  const { states, total, kinds, kubectl } = fleet;
  // Of machines without our agent there are no NodeUpdates.
  const command = (own: string): string => (kinds.foreign > 0 ? kubectl : own);
  const sum = (label: string, tone: string, ...names: (keyof typeof states)[]) => ({
    ...{ label, tone, value: names.reduce((all, name) => all + (states[name] ?? 0), 0) },
    command: command(commands.machinesWith("step", names)),
  });
  const numbers = [
    { label: "machines", tone: "", value: total, command: command(commands.machineCount()) },
    sum("staging", "", "Staging"),
    sum("staged, waiting", "", "Staged"),
    sum("draining or rebooting", "", "Granting", "Draining", "Rebooting"),
    sum("verifying", "", "Verifying"),
    sum("suspect", "warn", "Suspect"),
    sum("failed", "bad", "Failed"),
  ];
  return (
    <section aria-label="The fleet in numbers" class="numbers">
      <dl>
        {numbers.map(({ label, value, tone, command }) => (
          <div key={label} class={value > 0 ? tone : ""}>
            <dt>{label}</dt>
            <dd>
              <Num value={value} of={label} command={command} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function GroupCard({ group }: { group: Group }) {
  const { name } = group;
  return (
    <section aria-labelledby={`group-${name}`} class={`group ${group.state.toLowerCase()}`}>
      <header>
        <h2 id={`group-${name}`}>
          <a href={href.group(name)}>{name}</a>
        </h2>
        <GroupBadge state={group.state} />
        <span class="target">{goal(group)}</span>
        <GroupActions group={group} />
      </header>
      <GroupCounts group={group} />
      <Progress group={group} />
      <Stages group={group} />
      <GroupWhy group={group} />
      {group.nextOpening !== undefined && (
        <p class="note">
          Next opening <At time={group.nextOpening} />
        </p>
      )}
    </section>
  );
}

export function GroupWhy({ group: { why } }: { group: Group }) {
  if (why === undefined) return null;
  return (
    <p class="why">
      <b>{why.reason}</b> {why.message} <Ago time={why.since} />
    </p>
  );
}

export function goal({ driver, target, version, channel }: Group): string {
  if (driver === "sentinel") return "reboots only";
  if (target === undefined) return "no target";
  return `to ${version ?? target}${channel === undefined ? ", pinned" : ` by channel ${channel}`}`;
}

export function GroupCounts({ group }: { group: Group }) {
  const { name, counts, kubectl } = group;
  return (
    <ul class="counts" aria-label={`Counts of ${name}`}>
      <li>
        <Num value={counts.updated} of="updated" command={commands.group(name, "updated")} /> of{" "}
        <Num value={counts.nodes} of="machines" command={commands.group(name, "nodes")} /> updated
      </li>
      <li>
        <Num value={counts.inFlight} of="under way" command={commands.group(name, "inFlight")} /> under way
      </li>
      <li class={counts.failed > 0 ? "bad" : ""}>
        <Num value={counts.failed} of="failed" command={commands.group(name, "failed")} /> failed
      </li>
      <li>
        <Num value={counts.unavailable} of="down" command={commands.group(name, "unavailable")} />
        {counts.limit !== undefined && (
          <>
            {" "}
            of at most <Num value={counts.limit} of="may be down" command={commands.group(name, "limit")} />
          </>
        )}{" "}
        down
      </li>
      {counts.foreign > 0 && (
        <li>
          <Num
            value={counts.foreignUpdated}
            of="updated without our agent"
            command={commands.foreign(name, group.version)}
          />{" "}
          of <Num value={counts.foreign} of="machines without our agent" command={commands.foreign(name)} />{" "}
          without our agent
        </li>
      )}
      <li>
        <CommandButton command={kubectl} of={`group ${name}`} />
      </li>
    </ul>
  );
}
