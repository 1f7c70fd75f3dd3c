/** `kubectl slipway locks`: who holds a slot in which budget, who waits, and how a person frees one. */
import { Command } from "commander";
import { STEAL_ANNOTATION } from "../api/labels.ts";
import { type Lock, locksOf } from "../api/locks.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { stealOf } from "../api/steal.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { isApiError, type KubeClient } from "../runtime/client.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { names, span } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { oneLine } from "./node.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";
import { annotate, confirm, need, needUpdate, waitFor } from "./write.ts";

export function locksCommand(io: Io): Command {
  const locks = new Command("locks").description("Show who holds a slot to be down, or free one.");
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
      await withClient(flags, io, async (client) => {
        const update = await needUpdate(client, name);
        const grant = update.status?.grant;
        if (grant === undefined) throw new Failure(`${name} holds no slot: there is nothing to steal`);
        const word = stealOf(oneLine(reason), grant.nonce);
        if (word === update.status?.stolen)
          throw new Failure(
            `"${reason}" freed this slot of ${name} before: give another reason, or nothing happens`,
          );
        const away = update.status?.connected === true ? "Its agent IS connected." : "Its agent is away.";
        await confirm(
          io,
          `${name} holds a slot (${grant.phase}) in ${names(grant.budgets, 10)}. ${away} Freeing it lets another node go down; if this one is down too, the budget is overrun.`,
          yes,
        );
        await askToFree(client, update.metadata.name, grant.nonce, word);
        await waitFor(io, `the manager frees the slot of ${name}`, FREED_WITHIN, async () => {
          const now = await client.get<NodeUpdate>(nodeUpdate, { name: update.metadata.name });
          return now.status?.grant?.nonce === grant.nonce ? undefined : true;
        });
        io.out(`nodeupdate/${update.metadata.name} slot freed\n`);
      });
    });
  return locks;
}

const FREED_WITHIN = 60_000;

/** Asks the manager to free the grant that a person said yes to, and no other: a `Failure` where it ended, or the object was changed meanwhile. */
export async function askToFree(
  client: Pick<KubeClient, "get" | "patch">,
  name: string,
  nonce: string,
  word: string,
): Promise<void> {
  const { metadata, status } = await need<NodeUpdate>(client, nodeUpdate, name);
  if (status?.grant?.nonce !== nonce) {
    const now = status?.grant === undefined ? "it holds none now" : "it holds another one now";
    throw new Failure(
      `the slot of ${name} that was to be freed ended meanwhile, and ${now}: nothing was changed; look again with \`kubectl slipway why ${name}\``,
    );
  }
  try {
    await annotate(client, nodeUpdate, name, { [STEAL_ANNOTATION]: word }, metadata.resourceVersion);
  } catch (error) {
    if (!isApiError(error, "Conflict")) throw error;
    throw new Failure(
      `nodeupdate/${name} was changed while its slot was to be freed: nothing was changed; run the same again`,
    );
  }
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
  ];
  io.out(table(locks, columns));
}
