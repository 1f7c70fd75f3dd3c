/** The fleet as a grid of machines by zone, and the story of the one that is open. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { AssignAction } from "../actions.tsx";
import { useApp } from "../app-context.ts";
import { commands } from "../commands.ts";
import { count, plural } from "../format.ts";
import { cellSize } from "../grid/layout.ts";
import { ZoneGrid } from "../grid/zone-grid.tsx";
import { type Cell, type Tally, tally, type Zone } from "../machines.ts";
import { LOOKS, MARKS, type Mark } from "../mark.ts";
import { MarkSign } from "../parts/badge.tsx";
import { CommandButton, Num } from "../parts/number.tsx";
import { href, route } from "../route.ts";
import { StoryPanel } from "./story.tsx";

export function FleetView() {
  const { model, watchMachines } = useApp();
  const { query } = route.value;
  const group = query.get("group") ?? undefined;
  const open = query.get("machine") ?? undefined;
  const [marks, setMarks] = useState<ReadonlySet<Mark>>(new Set());
  const [search, setSearch] = useState("");
  const [chosen, setChosen] = useState<ReadonlyMap<string, string>>(new Map());
  useEffect(() => watchMachines(group), [group]);
  const wanted = search.trim().toLowerCase();
  const strong = useMemo(() => {
    if (marks.size === 0 && wanted === "") return undefined;
    return ({ mark, machine }: Cell): boolean =>
      (marks.size === 0 || marks.has(mark)) && (wanted === "" || machine.name.toLowerCase().includes(wanted));
  }, [marks, wanted]);
  const zones = model.machines.zones();
  const all = tally(zones.flatMap(({ cells }) => cells));
  const select = (cells: readonly Cell[], on: boolean): void => {
    const next = new Map(chosen);
    for (const { machine } of cells) {
      if (on) next.set(machine.uid, machine.name);
      else next.delete(machine.uid);
    }
    setChosen(next);
  };
  return (
    <div class={`fleet ${open === undefined ? "" : "with-story"}`}>
      <div class="fleet-main">
        <div class="tools">
          <GroupChoice group={group} />
          <label class="search">
            Find a machine
            <input type="search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
          </label>
          <CommandButton command={commands.machines(group)} of="machines" />
        </div>
        <Legend
          counts={all}
          marks={marks}
          onToggle={(mark) => {
            const next = new Set(marks);
            if (!next.delete(mark)) next.add(mark);
            setMarks(next);
          }}
        />
        {chosen.size > 0 && (
          <div class="tools selection" role="status">
            <span>{plural(chosen.size, "machine")} selected</span>
            <AssignAction machines={[...chosen]} />
            <button type="button" onClick={() => setChosen(new Map())}>
              Clear
            </button>
          </div>
        )}
        {model.machines.omitted.value > 0 && (
          <p class="note">
            {count(model.machines.omitted.value)} more machines are not drawn: choose a group to see all of
            it.
          </p>
        )}
        {zones.length === 0 && (
          <p class="empty">
            {model.machines.complete.value ? "No machine is here." : "Reading the machines …"}
          </p>
        )}
        {zones.map((zone, index) => (
          <ZoneSection
            key={zone.name}
            zone={zone}
            id={`zone-${index}`}
            group={group}
            size={cellSize(model.machines.size)}
            strong={strong}
            selected={chosen}
            shown={open}
            onSelect={select}
            onOpen={({ machine }) => {
              location.hash = href.machine(machine.uid, group);
            }}
          />
        ))}
        {zones.length > 0 && (
          <p class="note">
            Arrow keys move, Enter opens a machine, Space selects it, Shift selects up to where you go.
          </p>
        )}
      </div>
      {open !== undefined && (
        <StoryPanel
          uid={open}
          onClose={() => {
            location.hash = href.view("fleet", { group });
          }}
        />
      )}
    </div>
  );
}

function GroupChoice({ group }: { group: string | undefined }) {
  const groups = [...(useApp().model.groups.value?.keys() ?? [])];
  return (
    <label class="search">
      Group
      <select
        value={group ?? ""}
        onChange={(event) => {
          location.hash = href.view("fleet", { group: event.currentTarget.value });
        }}
      >
        <option value="">All groups</option>
        {groups.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

function Legend({
  counts,
  marks,
  onToggle,
}: {
  counts: Tally;
  marks: ReadonlySet<Mark>;
  onToggle: (mark: Mark) => void;
}) {
  return (
    <ul class="legend" aria-label="What the signs mean; press one to see only those machines">
      {MARKS.map((mark) => (
        <li key={mark}>
          <button
            type="button"
            aria-pressed={marks.has(mark)}
            title={LOOKS[mark].meaning}
            onClick={() => onToggle(mark)}
          >
            <MarkSign mark={mark} />
            {LOOKS[mark].label} <b>{count(counts[mark])}</b>
          </button>
        </li>
      ))}
    </ul>
  );
}

interface ZoneSectionProps {
  zone: Zone;
  id: string;
  group: string | undefined;
  size: number;
  strong: ((cell: Cell) => boolean) | undefined;
  selected: ReadonlyMap<string, string>;
  shown: string | undefined;
  onSelect: (cells: readonly Cell[], on: boolean) => void;
  onOpen: (cell: Cell) => void;
}

function ZoneSection({ zone, id, group, ...rest }: ZoneSectionProps) {
  const foreign = zone.cells.some(({ machine }) => machine.kind === "foreign");
  const own = commands.machinesWith("zone", [zone.name === "" ? "<none>" : zone.name], group);
  const command = foreign ? "kubectl slipway status" : own;
  const counts = tally(zone.cells);
  const name = zone.name === "" ? "No zone" : zone.name;
  const unusual = MARKS.filter((mark) => mark !== "current" && counts[mark] > 0);
  return (
    <section class="zone">
      <header>
        <h2 id={id}>{name}</h2>
        <Num value={zone.cells.length} of={`machines in ${name}`} command={command} />
        <span class="note">
          {unusual.length === 0
            ? "all up to date"
            : unusual.map((mark) => `${count(counts[mark])} ${LOOKS[mark].label.toLowerCase()}`).join(", ")}
        </span>
      </header>
      <ZoneGrid zone={zone} labelledBy={id} {...rest} />
    </section>
  );
}
