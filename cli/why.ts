/** `kubectl slipway why`: one sentence, then the facts, then the commands. */
import { Command } from "commander";
import { idOf } from "../coordination/identity.ts";
import type { KubeClient } from "../runtime/client.ts";
import type { ApiConfig } from "../runtime/kubeconfig.ts";
import { withClient } from "./connection.ts";
import { addConsoleFlags, type ConsoleFlags, orMissing, withConsole } from "./console-access.ts";
import { type Found, findForeign } from "./console-machine.ts";
import { type Explanation, explain } from "./explain/explain.ts";
import { explainMachine } from "./explain/machine.ts";
import { names, when } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { addOutputFlag, type OutputFlags, printData } from "./output.ts";
import { readSnapshot, type Snapshot } from "./snapshot.ts";
import { visible } from "./visible.ts";

export function whyCommand(io: Io): Command {
  const command = new Command("why")
    .description(
      "Say in one sentence why a node or machine is as it is, then the facts, then what changes it. For a machine without our agent a gateway's console is asked, as `machines` does.",
    )
    .argument(
      "<node>",
      "a Node, a plain machine's NodeUpdate, or its machine id; or a machine without our agent, by its machine id or the alias that it sends",
    )
    .action(async (name: string, _options: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ConsoleFlags & OutputFlags>();
      await withClient(flags, io, async (client, config) => {
        const snapshot = await readSnapshot(client, flags.namespace);
        const now = io.clock.now();
        const explanation =
          explain(snapshot, name, now) ?? (await explainForeign(client, config, flags, io, snapshot, name));
        const { output } = flags;
        if (output === "json" || output === "yaml") printData(io, explanation, output);
        else if (output === "name") io.out(`${explanation.situation}\n`);
        else io.out(explanationText(explanation, now));
      });
    });
  return addOutputFlag(addConsoleFlags(command));
}

/** Of a machine without our agent. Throws a `Failure` where there is none that is called so, or nobody can say. */
async function explainForeign(
  client: Pick<KubeClient, "get" | "list">,
  config: Pick<ApiConfig, "credentials">,
  flags: ConsoleFlags,
  io: Io,
  snapshot: Snapshot,
  name: string,
): Promise<Explanation> {
  // Where no group serves such machines nobody need be asked for them.
  const served = snapshot.groups.some(({ spec }) => spec.machines !== undefined);
  if (!served && flags.console === undefined) throw new Failure(unknownName(snapshot, name));
  const { told: found, missing } = await orMissing(io, () =>
    withConsole(flags, { client, config }, io, (read) => findForeign(read, name)),
  );
  if (found === undefined) throw new Failure(unknownName(snapshot, name, { missing }));
  if (found.is !== "found") throw new Failure(unknownName(snapshot, name, found));
  const { story } = found;
  return explainMachine(story, idOf(story.machine.uid), snapshot, io.clock.now());
}

export function explanationText({ sentence, facts, advice }: Explanation, now: number): string {
  const lines = [visible(sentence)];
  if (facts.length > 0) lines.push("", "Because:");
  for (const { text, since } of facts)
    lines.push(`  ${visible(text)}${since === undefined ? "" : `, since ${when(since, now)}`}`);
  if (advice.length > 0)
    lines.push("", advice.length === 1 ? "What changes it:" : "What changes it, or shows more:");
  for (const { command, effect } of advice) lines.push(`  ${visible(command)}`, `      ${visible(effect)}`);
  return `${lines.join("\n")}\n`;
}

/** Of names in one sentence. */
const SHOWN = 5;

/**
 * That nothing is called `name`, and which names a person may have meant. `console`: what it told of machines without
 * our agent, or why it told nothing; undefined where there are none.
 */
export function unknownName(
  { nodes, nodeUpdates }: Pick<Snapshot, "nodes" | "nodeUpdates">,
  name: string,
  console?: Exclude<Found, { is: "found" }> | { missing: string },
): string {
  const none = `there is no Node, NodeUpdate or machine id ${visible(name)}`;
  const known = [...new Set([...nodes, ...nodeUpdates].map(({ metadata }) => metadata.name))].toSorted();
  const near = known.filter((each) => each.includes(name) || name.includes(each)).slice(0, SHOWN);
  const meant = (all: readonly string[], lists: string): string =>
    all.length > 0 ? `did you mean ${all.map(visible).join(", ")}?` : `${lists} lists what there is`;
  const ours = meant(near, "`kubectl get nodes,nodeupdates`");
  if (console === undefined) return `${none}: ${ours}`;
  if ("missing" in console)
    return `${none} (${ours}); whether a machine without our agent is called so is not known, because ${console.missing}`;
  if (console.is === "several") {
    const { machines } = console;
    const all = machines.map(({ id, group }) => `${visible(id)} (group ${visible(group)})`);
    return `${none}, and ${machines.length} machines without our agent call themselves so: give the machine id of one, ${names(all, SHOWN)}`;
  }
  const rest = console.whole ? "" : "; more are alike than were looked through: give its machine id";
  const lists = "`kubectl get nodes,nodeupdates` or `kubectl slipway machines`";
  return `${none}, and no machine without our agent is called so: ${meant([...near, ...console.near].slice(0, SHOWN), lists)}${rest}`;
}
