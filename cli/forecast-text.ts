/** A forecast for people. */
import { timestamp } from "../api/meta.ts";
import { count, span } from "./explain/words.ts";
import type { Forecast, Step } from "./forecast.ts";
import type { Io } from "./io.ts";
import { type Column, type OutputFlags, printData, table } from "./output.ts";

/** `now`: wall clock, ms. */
export function printForecast(io: Io, forecast: Forecast, now: number, output: OutputFlags["output"]): void {
  if (output === "json" || output === "yaml") {
    const steps = forecast.steps.map((step) => ({
      ...step,
      at: step.at === undefined ? undefined : timestamp(step.at),
    }));
    return printData(io, { ...forecast, steps }, output);
  }
  const { group, release, perNode, basis, atMost, steps, obstacles } = forecast;
  const moving = steps.filter(({ fate }) => fate === "would" || fate === "now");
  io.out(
    `UpdateGroup ${group} to Release ${release}: ${count(moving.length, "node")} would move, nothing was changed.\n`,
  );
  for (const obstacle of obstacles) io.out(`  ${obstacle}\n`);
  io.out(
    `A node is taken to need ${span(perNode)} (${basis}); by the deadlines it may need ${span(atMost)}, which must fit into an opening.\n\n`,
  );
  const columns: Column<Step>[] = [
    { name: "STAGE", of: ({ stage }) => stage },
    { name: "NODE", of: ({ node }) => node },
    { name: "FROM", of: ({ from }) => from },
    { name: "TO", of: ({ to, fate }) => (fate === "stays" || fate === "done" ? "" : to) },
    { name: "NOT BEFORE", of: (step) => notBefore(step, now) },
    { name: "WHY", of: ({ why }) => why },
  ];
  io.out(table(steps, columns));
  const last = Math.max(...steps.map(({ at }) => at ?? 0));
  const without = steps.filter(({ fate, at }) => fate === "would" && at === undefined);
  if (without.length > 0) {
    io.out(
      `\n${count(without.length, "node")} found no place in the openings that are known: \`kubectl slipway windows next ${group}\`.\n`,
    );
  } else if (last > 0) {
    io.out(
      `\nAt the earliest all is done at ${timestamp(last + perNode)} (in ${span(last + perNode - now)}).\n`,
    );
  }
  io.out("Not foreseen: failures, budgets that groups share, and nodes that are down for another reason.\n");
}

function notBefore({ fate, at }: Step, now: number): string {
  if (fate === "done") return "done";
  if (fate === "stays") return "stays";
  if (fate === "now") return "under way";
  if (at === undefined) return "no opening known";
  return at <= now ? "now" : `${timestamp(at)} (in ${span(at - now)})`;
}
