/** `kubectl slipway locks`: who holds a slot in which budget, who waits, and how a person frees one. */
import { Command } from "commander";
import { type Lock, locksOf } from "../api/locks.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { operations } from "../console/operations.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { addConsoleFlags, type ConsoleFlags, orMissing, withConsole } from "./console-access.ts";
import { readList } from "./console-api.ts";
import { names, span } from "./explain/words.ts";
import type { Io } from "./io.ts";
import { lockCommand, setMaxCommand, unlockCommand } from "./lock.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";
import { stealSlot } from "./steal.ts";
import { visible } from "./visible.ts";

/** Of those that wait without our agent: more than a list names of any budget. */
const MAX_WAITING = 10_000;

export function locksCommand(io: Io): Command {
  const locks = new Command("locks").description(
    "Show who holds a slot to be down; take one, free one, or set how many there are.",
  );
  const list = locks
    .command("list")
    .alias("status")
    .description(
      "List the budgets with their holders and who waits for them. Where a group serves machines without our agent, a gateway's console is asked who of these wait, as `machines` asks it.",
    )
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ConsoleFlags & OutputFlags>();
      await withClient(flags, io, async (client, config) => {
        const [groups, budgets, updates] = await Promise.all([
          client.list<UpdateGroup>(updateGroup),
          client.list<RebootBudget>(rebootBudget),
          client.list<NodeUpdate>(nodeUpdate),
        ]);
        const served = groups.items.some(({ spec }) => spec.machines !== undefined);
        const ask = served || flags.console !== undefined;
        const { told, missing } = await orMissing(io, async () =>
          ask
            ? await withConsole(flags, { client, config }, io, (read) =>
                readList(read, operations.listWaiting, {}, MAX_WAITING),
              )
            : { items: [], stale: undefined },
        );
        printLocks(io, locksOf(groups.items, budgets.items, updates.items, told?.items), flags.output);
        if (missing !== undefined) io.err(`note: ${unseenLine(missing)}\n`);
        if (told?.stale !== undefined)
          io.err(`note: of machines without our agent: ${visible(told.stale)}\n`);
      });
    });
  addConsoleFlags(addOutputFlag(list));
  locks
    .command("steal")
    .description(
      "Free the slot of a machine that is not coming back. If it is up after all, a budget may be overrun.",
    )
    .argument("<node>")
    .requiredOption("--reason <text>", "why; it is written to the NodeUpdate and its history")
    .option("-y, --yes", "do not ask")
    .action(async (name: string, _: unknown, self: Command) => {
      const { reason, yes, ...flags } = self.optsWithGlobals<
        GlobalFlags & { reason: string; yes?: boolean }
      >();
      await withClient(flags, io, (client) => stealSlot(client, io, name, reason, yes));
    });
  for (const command of [lockCommand(io), unlockCommand(io), setMaxCommand(io)]) locks.addCommand(command);
  return locks;
}

/** Why nobody without our agent is among those that wait. */
export function unseenLine(missing: string): string {
  return `which machines without our agent wait is not shown, because ${missing}; the console shows them under Reboot slots`;
}

/** Nodes, then the line of machines without our agent, with by what they asked and for how long: of both up to `most`. */
export function waitingIn({ waiting, line, inLine = 0 }: Lock, now: number, most: number): string {
  const asked = line.map(
    ({ machine, protocol, since }) => `${machine} (${protocol} ${span(now - Date.parse(since))})`,
  );
  const shown = asked.slice(0, most);
  const more = inLine - shown.length;
  const others = more > 0 ? `${shown.join(", ")} and ${more} more` : names(shown, most);
  return [names(waiting, most), others].filter((text) => text !== "").join("; ");
}

function printLocks(io: Io, locks: readonly Lock[], output: OutputFlags["output"]): void {
  if (output === "json" || output === "yaml") return printData(io, locks, output);
  if (output === "name") return io.out(locks.map(({ budget }) => `${budget}\n`).join(""));
  if (locks.length === 0) return io.err("No budget is known yet: there is no UpdateGroup with nodes.\n");
  const now = io.clock.now();
  const columns: Column<Lock>[] = [
    { name: "BUDGET", of: ({ budget }) => budget },
    { name: "LIMIT", of: ({ limit }) => (limit === undefined ? "" : String(limit)) },
    { name: "DOWN", of: ({ unavailable }) => (unavailable === undefined ? "" : String(unavailable)) },
    {
      name: "HOLDERS",
      of: ({ holders }) =>
        holders
          .map(
            ({ node, phase, since, step }) =>
              `${node} (${step === "Suspect" ? step : phase} ${span(now - Date.parse(since))})`,
          )
          .join(", "),
    },
    { name: "WAITING", of: (lock) => waitingIn(lock, now, output === "wide" ? 100 : 3) },
    { name: "WHY", of: ({ holders }) => holders.map(({ reason }) => reason).join(" "), wide: true },
  ];
  io.out(table(locks, columns, output === "wide"));
}
