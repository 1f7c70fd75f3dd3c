/** How far a group has come, for people. */
import type { NodeUpdate } from "../api/node-update.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import { groupLines } from "./board.ts";
import { when } from "./explain/words.ts";
import type { Io } from "./io.ts";
import { type Column, table } from "./output.ts";
import { visible } from "./visible.ts";

/** `now`: wall clock, ms. */
export function printRollout(io: Io, group: UpdateGroup, updates: readonly NodeUpdate[], now: number): void {
  const { status, spec } = group;
  for (const line of groupLines(group)) io.out(`${line}\n`);
  for (const { name, size, verified, openedAt, passedAt } of status?.stages ?? []) {
    const state =
      passedAt === undefined
        ? openedAt === undefined
          ? "not open"
          : `open since ${when(openedAt, now)}`
        : `passed ${when(passedAt, now)}`;
    const soak = spec.stages.find((stage) => stage.name === name)?.soak ?? "0s";
    io.out(
      `  stage ${name}: ${verified} of ${size} verified, ${state}${soak === "0s" ? "" : `, soaks ${soak}`}\n`,
    );
  }
  for (const { node, release, reason, message, time } of status?.failures ?? [])
    io.out(`  failed: ${visible(`${node} on ${release}, ${when(time, now)}: ${reason}, ${message}`)}\n`);
  const gate = status?.gate;
  if (gate !== undefined && (gate.paused || gate.halted))
    io.out(`  the ${gate.paused ? "pause" : "halt"} binds since ${when(gate.since, now)}\n`);
  if (updates.length === 0) return;
  const columns: Column<NodeUpdate>[] = [
    { name: "NODE", of: ({ metadata }) => metadata.name },
    { name: "RUNNING", of: (each) => each.status?.running ?? "" },
    { name: "TARGET", of: (each) => each.status?.target ?? "" },
    { name: "STEP", of: (each) => each.status?.step ?? "" },
    { name: "REASON", of: (each) => each.status?.reason ?? "" },
    { name: "MESSAGE", of: (each) => each.status?.message ?? "" },
  ];
  io.out(`\n${table(updates, columns)}`);
}
