/** One group: what it does and why, its stages, failures, windows, slots and versions. */
import type { Group } from "../../contract.ts";
import { GroupActions } from "../actions.tsx";
import { useApp } from "../app-context.ts";
import { commands } from "../commands.ts";
import { GroupBadge } from "../parts/badge.tsx";
import { VersionChart } from "../parts/chart.tsx";
import { CommandButton, Num } from "../parts/number.tsx";
import { Progress } from "../parts/progress.tsx";
import { Table } from "../parts/table.tsx";
import { Ago, At } from "../parts/time.tsx";
import { href } from "../route.ts";
import { GroupCounts, GroupWhy, goal } from "./rollouts.tsx";
import { BudgetCard } from "./slots.tsx";

const OPENINGS = 5;

export function GroupView({ name }: { name: string }) {
  const { model } = useApp();
  const groups = model.groups.value;
  const group = groups?.get(name);
  if (group === undefined) {
    return (
      <p class="empty">
        {groups === undefined ? "Reading the group …" : `There is no UpdateGroup ${name} any more.`}
      </p>
    );
  }
  const budgets = [...(model.budgets.value?.values() ?? [])].filter(
    (budget) => budget.name === `group/${name}` || budget.name.startsWith(`group/${name}/`),
  );
  return (
    <>
      <section aria-label="How it goes" class={`group ${group.state.toLowerCase()}`}>
        <header>
          <GroupBadge state={group.state} />
          <span class="target">{goal(group)}</span>
          <a href={href.view("fleet", { group: name })}>Its machines</a>
          <GroupActions group={group} />
        </header>
        <GroupCounts group={group} />
        <Progress group={group} />
        <GroupWhy group={group} />
      </section>
      {group.failures.length > 0 && <Failures group={group} />}
      <StageTable group={group} />
      <section aria-labelledby="versions">
        <h2 id="versions">Versions</h2>
        <VersionChart group={name} />
      </section>
      {budgets.length > 0 && (
        <section aria-labelledby="slots">
          <h2 id="slots">Reboot slots</h2>
          <div class="budgets">
            {budgets.map((budget) => (
              <BudgetCard key={budget.name} budget={budget} level={3} />
            ))}
          </div>
        </section>
      )}
      <Openings name={name} />
    </>
  );
}

function Failures({ group }: { group: Group }) {
  return (
    <section aria-labelledby="failures">
      <h2 id="failures">Failures that count</h2>
      <Table
        caption={`Failures of ${group.name}`}
        items={group.failures}
        rowKey={({ machine, time }) => `${machine} ${time}`}
        empty="None."
        columns={[
          { head: "Machine", header: true, cell: ({ machine }) => machine },
          { head: "Release", cell: ({ release }) => release },
          { head: "Reason", cell: ({ reason }) => reason },
          { head: "What happened", cell: ({ message }) => message },
          { head: "When", cell: ({ time }) => <Ago time={time} /> },
        ]}
      />
    </section>
  );
}

function StageTable({ group }: { group: Group }) {
  return (
    <section aria-labelledby="stages">
      <h2 id="stages">Stages</h2>
      <Table
        caption={`Stages of ${group.name}`}
        items={group.stages}
        rowKey={({ name }) => name}
        empty="The group has no stages: all of its machines may go at once, within its budget."
        columns={[
          { head: "Stage", header: true, cell: ({ name }) => name },
          { head: "State", cell: ({ state }) => state },
          {
            head: "Verified",
            number: true,
            cell: ({ name, verified }) => (
              <Num
                value={verified}
                of={`verified in ${name}`}
                command={commands.stage(group.name, name, "verified")}
              />
            ),
          },
          {
            head: "Size",
            number: true,
            cell: ({ name, size }) => (
              <Num
                value={size}
                of={`machines up to ${name}`}
                command={commands.stage(group.name, name, "size")}
              />
            ),
          },
          { head: "Opened", cell: ({ openedAt }) => <Ago time={openedAt} /> },
          { head: "Passed", cell: ({ passedAt }) => <Ago time={passedAt} /> },
        ]}
      />
    </section>
  );
}

function Openings({ name }: { name: string }) {
  const found = useApp().model.openings.value?.get(name);
  if (found === undefined) return null;
  return (
    <section aria-labelledby="openings">
      <h2 id="openings">
        Openings <CommandButton command={found.kubectl} of="openings" />
      </h2>
      {found.always && <p>It reboots outside of windows, too; change freezes bind it.</p>}
      {found.note !== "" && <p>{found.note}</p>}
      <ul class="plain">
        {found.openings.slice(0, OPENINGS).map(({ start, end, windows }) => (
          <li key={start}>
            <At time={start} /> to {end === undefined ? "no end" : <At time={end} />}{" "}
            <span class="note">{windows.join(", ")}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
