/** How far a group has come: one bar, with a tick where each stage ends. */
import type { Group } from "../../contract.ts";
import { commands } from "../commands.ts";
import { percent } from "../format.ts";
import { Num } from "./number.tsx";

export function Progress({ group }: { group: Group }) {
  const { inFlight, failed, foreign, foreignUpdated } = group.counts;
  const nodes = group.counts.nodes + foreign;
  const updated = group.counts.updated + foreignUpdated;
  const share = (part: number): string => `${nodes === 0 ? 0 : (Math.min(part, nodes) / nodes) * 100}%`;
  const text = `${updated} of ${nodes} updated, ${inFlight} under way, ${failed} failed`;
  return (
    <div class="progress">
      <svg role="img" aria-label={text} preserveAspectRatio="none" width="100%" height="14">
        <rect class="track" width="100%" height="14" rx="2" />
        <rect class="done" width={share(updated)} height="14" rx="2" />
        <rect class="moving" x={share(updated)} width={share(inFlight)} height="14" />
        <rect class="failing" x={share(nodes - failed)} width={share(failed)} height="14" />
        {group.stages
          // Their sizes are of Nodes only.
          .filter(({ size }) => foreign === 0 && size > 0 && size < nodes)
          .map(({ name, size }) => (
            <line key={name} class="tick" x1={share(size)} x2={share(size)} y1="0" y2="14" />
          ))}
      </svg>
      <span class="percent" aria-hidden="true">
        {percent(updated, nodes)} %
      </span>
    </div>
  );
}

const STAGE_SIGNS = { Passed: "✓", Open: "▸", Waiting: "○" } as const;

export function Stages({ group }: { group: Group }) {
  if (group.stages.length === 0) return null;
  return (
    <ol class="stages" aria-label={`Stages of ${group.name}`}>
      {group.stages.map(({ name, state, verified, size }) => (
        <li key={name} class={state.toLowerCase()} aria-current={state === "Open" ? "step" : undefined}>
          <span aria-hidden="true">{STAGE_SIGNS[state]}</span> {name}{" "}
          <Num
            value={verified}
            of={`verified in ${name}`}
            command={commands.stage(group.name, name, "verified")}
          />
          /
          <Num
            value={size}
            of={`machines up to ${name}`}
            command={commands.stage(group.name, name, "size")}
          />
          <span class="unseen">, {state.toLowerCase()}</span>
        </li>
      ))}
    </ol>
  );
}
