/** How many machines ran what, over time: stacked areas, with a table that says the same. */
import { useEffect, useState } from "preact/hooks";
import type { Versions } from "../../contract.ts";
import { api } from "../api.ts";
import { useApp } from "../app-context.ts";
import { areas, SERIES_SHOWN, thinned } from "../areas.ts";
import { clock, count, day } from "../format.ts";
import { CommandButton } from "./number.tsx";
import { At } from "./time.tsx";

/** The series has a point for minutes, not for seconds. */
const REFRESH = 30_000;
const [WIDTH, HEIGHT] = [600, 120];
const ROWS = 12;

export function VersionChart({ group }: { group?: string }) {
  const { timers } = useApp();
  const [versions, setVersions] = useState<Versions | undefined>(undefined);
  useEffect(() => {
    let cancel = (): void => {};
    let gone = false;
    const load = async (): Promise<void> => {
      const found = await api.versions(group).catch(() => undefined);
      if (gone) return;
      if (found !== undefined) setVersions(found);
      cancel = timers.after(REFRESH, () => void load());
    };
    void load();
    return () => {
      gone = true;
      cancel();
    };
  }, [group]);
  if (versions === undefined) return <p class="empty">Reading the history …</p>;
  if (versions.times.length === 0)
    return <p class="empty">No history yet: a sample is kept each quarter of an hour.</p>;
  return <Chart versions={versions} />;
}

function Chart({ versions }: { versions: Versions }) {
  const shown = areas(versions, WIDTH, HEIGHT);
  const first = Date.parse(versions.times[0] ?? "");
  const last = Date.parse(versions.times.at(-1) ?? "");
  const newest = shown.map(({ label, latest }) => `${label}: ${count(latest)}`).join(", ");
  return (
    <figure class="chart">
      <svg
        role="img"
        aria-label={`Machines by version over time. Now ${newest}.`}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        width="100%"
        height={HEIGHT}
      >
        {shown.map(({ label, path }, index) => (
          <path key={label} d={path} class={`series series-${index}`} />
        ))}
      </svg>
      <div class="axis" aria-hidden="true">
        <span>
          {day(first)} {clock(first)}
        </span>
        <span>
          {day(last)} {clock(last)}
        </span>
      </div>
      <figcaption>
        <ul class="legend">
          {shown.map(({ label, latest }, index) => (
            <li key={label}>
              <span aria-hidden="true" class={`swatch series-${index}`}>
                {index + 1}
              </span>{" "}
              {label} <b>{count(latest)}</b>
            </li>
          ))}
          <li>
            <CommandButton command={versions.kubectl} of="versions" />
          </li>
        </ul>
      </figcaption>
      <details>
        <summary>As a table</summary>
        <HistoryTable versions={versions} />
      </details>
    </figure>
  );
}

function HistoryTable({ versions }: { versions: Versions }) {
  const series = versions.series.slice(0, SERIES_SHOWN);
  return (
    <table role="table">
      <caption class="unseen">Machines by version</caption>
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col">
            Time
          </th>
          {series.map(({ version }) => (
            <th key={version} role="columnheader" scope="col" class="number">
              {version || "unknown"}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {thinned(versions.times, ROWS).map((index) => (
          <tr key={versions.times[index]} role="row">
            <th role="rowheader" scope="row">
              <At time={versions.times[index] ?? ""} />
            </th>
            {series.map(({ version, counts }) => (
              <td key={version} role="cell" data-head={version || "unknown"} class="number">
                {count(counts[index] ?? 0)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
