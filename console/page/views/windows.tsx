/** When reboots may happen: a calendar of the next two weeks, and each window. */
import { useState } from "preact/hooks";
import { useApp } from "../app-context.ts";
import { type Bar, calendar, type Day } from "../calendar.ts";
import { byName, clock, day, startOfDay } from "../format.ts";
import { Badge } from "../parts/badge.tsx";
import { GroupLinks } from "../parts/links.tsx";
import { CommandButton } from "../parts/number.tsx";
import { Table } from "../parts/table.tsx";
import { At } from "../parts/time.tsx";

export function WindowsView() {
  const { model, now } = useApp();
  const [name, setName] = useState("");
  const windows = model.windows.value;
  const openings = model.openings.value;
  if (windows === undefined || openings === undefined) return <p class="empty">Reading the windows …</p>;
  const group = openings.get(name);
  // The calendar moves by minutes.
  const minute = Math.floor(now.value / 60_000) * 60_000;
  return (
    <>
      <div class="tools">
        <label class="search">
          Group
          <select value={name} onChange={(event) => setName(event.currentTarget.value)}>
            <option value="">All windows</option>
            {[...openings.keys()].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <span class="note">Times are {Intl.DateTimeFormat().resolvedOptions().timeZone}.</span>
        {group !== undefined && <CommandButton command={group.kubectl} of={`openings of ${name}`} />}
      </div>
      {group?.always === true && <p>{name} reboots outside of windows, too; change freezes bind it.</p>}
      {group !== undefined && group.note !== "" && <p>{group.note}</p>}
      <section aria-labelledby="calendar">
        <h2 id="calendar">The next two weeks</h2>
        <Calendar days={calendar(windows.values(), group, minute)} now={minute} />
      </section>
      <WindowTable />
    </>
  );
}

function Calendar({ days, now }: { days: readonly Day[]; now: number }) {
  return (
    <>
      <div class="hours" aria-hidden="true">
        {["0", "6", "12", "18", "24"].map((hour) => (
          <span key={hour}>{hour} h</span>
        ))}
      </div>
      <ol class="calendar">
        {days.map((each) => (
          <DayRow key={each.start} day={each} now={now} />
        ))}
      </ol>
    </>
  );
}

function DayRow({ day: { start, bars }, now }: { day: Day; now: number }) {
  const today = start === startOfDay(now);
  const at = `${((now - start) / 86_400_000) * 100}%`;
  return (
    <li aria-current={today ? "date" : undefined}>
      <span class="day">{day(start)}</span>
      <svg aria-hidden="true" width="100%" height="22">
        <rect class="track" width="100%" height="22" rx="2" />
        {[25, 50, 75].map((x) => (
          <line key={x} class="hour" x1={`${x}%`} x2={`${x}%`} y1="0" y2="22" />
        ))}
        {bars.map((bar) => (
          <rect
            key={`${bar.label} ${bar.start}`}
            class={bar.deny ? "deny" : "allow"}
            x={`${bar.from * 100}%`}
            width={`${Math.max(0.4, (bar.to - bar.from) * 100)}%`}
            y={bar.deny ? 2 : 5}
            height={bar.deny ? 18 : 12}
            rx="2"
          />
        ))}
        {today && <line class="now" x1={at} x2={at} y1="0" y2="22" />}
      </svg>
      <span class="bars">
        {bars.length === 0 ? (
          <span class="unseen">no opening</span>
        ) : (
          bars.map((bar) => textOf(bar, start)).join("; ")
        )}
      </span>
    </li>
  );
}

function textOf({ label, deny, start, end }: Bar, dayStart: number): string {
  const from = start < dayStart ? "from before" : clock(start);
  const to =
    end === Number.POSITIVE_INFINITY
      ? "no end"
      : startOfDay(end) === dayStart
        ? clock(end)
        : `${day(end)} ${clock(end)}`;
  return `${deny ? "✕ frozen: " : ""}${label} ${from} to ${to}`;
}

function WindowTable() {
  const windows = useApp().model.windows.value;
  return (
    <section aria-labelledby="windows">
      <h2 id="windows">Windows</h2>
      <Table
        caption="Windows"
        items={[...(windows?.values() ?? [])].sort((a, b) => byName(a.name, b.name))}
        rowKey={({ name }) => name}
        empty="There is no RebootWindow: groups with `windows: OnlyInWindows` reboot nothing, others at any time."
        columns={[
          {
            head: "Window",
            header: true,
            cell: ({ name, kubectl }) => (
              <>
                {name} <CommandButton command={kubectl} of={`window ${name}`} />
              </>
            ),
          },
          {
            head: "Mode",
            cell: ({ mode }) =>
              mode === "Deny" ? (
                <Badge sign="✕" label="Freeze" tone="bad" />
              ) : (
                <Badge sign="✓" label="Allow" tone="good" />
              ),
          },
          {
            head: "When",
            cell: ({ start, duration, timeZone, refused }) => (
              <>
                {start}, for {duration} ({timeZone})
                {refused !== undefined && <p class="bad">{refused.message}</p>}
              </>
            ),
          },
          {
            head: "Now",
            cell: ({ open, closesAt, openings }) =>
              open ? (
                <>
                  in force
                  {closesAt !== undefined && (
                    <>
                      {" "}
                      until <At time={closesAt} />
                    </>
                  )}
                </>
              ) : openings[0] === undefined ? (
                "no opening"
              ) : (
                <>
                  next <At time={openings[0].start} />
                </>
              ),
          },
          {
            head: "Groups",
            cell: ({ groups }) => <GroupLinks names={groups} />,
          },
        ]}
      />
    </section>
  );
}
