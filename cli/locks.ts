/** `kubectl slipway locks`: who holds a slot in which budget, who waits, and how a person frees one. */
import { Command } from "commander";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { names, span } from "./explain/words.ts";
import type { Io } from "./io.ts";
import { lockCommand, setMaxCommand, unlockCommand } from "./lock.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";
import { stealSlot } from "./steal.ts";

/** A budget as the status of nodes, groups and RebootBudgets shows it. */
export interface Lock {
  /** `group/NAME`, `group/NAME/KEY=DOMAIN`, `budget/NAME`, `budget/NAME/KEY=DOMAIN`, `infrastructure`. */
  budget: string;
  limit: number | undefined;
  unavailable: number | undefined;
  holders: { node: string; phase: string; since: string; step: string; reason: string }[];
  /** Nodes whose status says that they wait for this budget. */
  waiting: string[];
}

/** Every budget that somebody holds or waits for, and every one that a status shows. */
export function locksOf(
  groups: readonly UpdateGroup[],
  budgets: readonly RebootBudget[],
  nodeUpdates: readonly NodeUpdate[],
): Lock[] {
  const locks = new Map<string, Lock>();
  const lock = (budget: string, limit?: number, unavailable?: number): Lock => {
    const known = locks.get(budget) ?? {
      budget,
      limit: undefined,
      unavailable: undefined,
      holders: [],
      waiting: [],
    };
    known.limit ??= limit;
    known.unavailable ??= unavailable;
    locks.set(budget, known);
    return known;
  };
  for (const { metadata, status } of groups) {
    if (status?.limit !== undefined) lock(`group/${metadata.name}`, status.limit, status.unavailable);
    for (const { machine, protocol, since } of status?.machines?.holders ?? []) {
      const reason = `It asked by ${protocol}.`;
      lock(`group/${metadata.name}`).holders.push({
        node: machine,
        phase: protocol,
        since,
        step: "",
        reason,
      });
    }
  }
  for (const { metadata, spec, status } of budgets) {
    for (const domain of status?.domains ?? []) {
      const key = spec.topologyKey === undefined ? "" : `/${spec.topologyKey}=${domain.domain}`;
      lock(`budget/${metadata.name}${key}`, domain.limit, domain.unavailable);
    }
  }
  for (const { metadata, status } of nodeUpdates) {
    const grant = status?.grant;
    for (const budget of grant?.budgets ?? []) {
      lock(budget).holders.push({
        node: metadata.name,
        phase: grant?.phase ?? "",
        since: grant?.since ?? "",
        step: status?.step ?? "",
        reason: status?.message ?? "",
      });
    }
    const waits = status?.reason === "WaitingForBudget" || status?.reason === "WaitingForTurn";
    const [, budget] = /^Budget (\S+) allows/.exec(status?.message ?? "") ?? [];
    if (waits && budget !== undefined) lock(budget).waiting.push(metadata.name);
  }
  return [...locks.values()].toSorted((a, b) => (a.budget < b.budget ? -1 : 1));
}

export function locksCommand(io: Io): Command {
  const locks = new Command("locks").description(
    "Show who holds a slot to be down; take one, free one, or set how many there are.",
  );
  const list = locks
    .command("list")
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
