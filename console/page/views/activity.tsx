/** What happened, newest first. */
import { useState } from "preact/hooks";
import { useApp } from "../app-context.ts";
import { MachineLink } from "../parts/links.tsx";
import { Table } from "../parts/table.tsx";
import { Ago } from "../parts/time.tsx";
import { href } from "../route.ts";

const SHOWN = 100;

export function ActivityView() {
  const activity = useApp().model.activity.value;
  const [search, setSearch] = useState("");
  const [all, setAll] = useState(false);
  if (activity === undefined) return <p class="empty">Reading the log …</p>;
  const wanted = search.trim().toLowerCase();
  const found = [...activity.values()]
    .filter(({ machine, group, what, reason, message, by }) =>
      [machine, group, what, reason, message, by ?? ""].some((text) => text.toLowerCase().includes(wanted)),
    )
    .sort((a, b) => b.time.localeCompare(a.time));
  return (
    <>
      <label class="search">
        Find
        <input type="search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
      </label>
      <Table
        caption="Activity"
        items={all ? found : found.slice(0, SHOWN)}
        rowKey={({ id }) => id}
        empty={wanted === "" ? "Nothing has happened yet." : "Nothing of that is in the log."}
        columns={[
          { head: "When", cell: ({ time }) => <Ago time={time} /> },
          { head: "What", header: true, cell: ({ what }) => what },
          { head: "Machine", cell: ({ uid, machine }) => <MachineLink uid={uid} name={machine} /> },
          {
            head: "Group",
            cell: ({ group }) => (group === "" ? "" : <a href={href.group(group)}>{group}</a>),
          },
          {
            head: "Why",
            cell: ({ reason, message }) => (
              <>
                {reason !== "" && <b>{reason} </b>}
                {message}
              </>
            ),
          },
          { head: "By", cell: ({ by }) => by ?? "" },
        ]}
      />
      {!all && found.length > SHOWN && (
        <button type="button" onClick={() => setAll(true)}>
          Show all {found.length}
        </button>
      )}
    </>
  );
}
