/** `kubectl slipway locks`: who holds a slot in which budget, who waits, and how a person frees one. */
import { Command } from "commander";
import { type Lock, locksOf } from "../api/locks.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { names, span } from "./explain/words.ts";
import type { Io } from "./io.ts";
import { lockCommand, setMaxCommand, unlockCommand } from "./lock.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";
import { stealSlot } from "./steal.ts";

export function locksCommand(io: Io): Command {
  const locks = new Command("locks").description(
    "Show who holds a slot to be down; take one, free one, or set how many there are.",
  );
  const list = locks
    .command("list")
    .alias("status")
    .description("List the budgets with their holders and who waits for them.")
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags>();
      await withClient(flags, io, async (client) => {
        const [groups, budgets, updates] = await Promise.all([
          client.list<UpdateGroup>(updateGroup),
          client.list<RebootBudget>(rebootBudget),
          client.list<NodeUpdate>(nodeUpdate),
        ]);
        printLocks(io, locksOf(groups.items, budgets.items, updates.items), flags.output);
      });
    });
  addOutputFlag(list);
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
    { name: "WAITING", of: ({ waiting }) => names(waiting, output === "wide" ? 100 : 3) },
    { name: "WHY", of: ({ holders }) => holders.map(({ reason }) => reason).join(" "), wide: true },
  ];
  io.out(table(locks, columns, output === "wide"));
}
