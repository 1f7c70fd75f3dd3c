/** `kubectl slipway why`: one sentence, then the facts, then the commands. */
import { Command } from "commander";
import { type GlobalFlags, withClient } from "./connection.ts";
import { type Explanation, explain } from "./explain/explain.ts";
import { when } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { addOutputFlag, type OutputFlags, printData } from "./output.ts";
import { readSnapshot, type Snapshot } from "./snapshot.ts";
import { visible } from "./visible.ts";

export function whyCommand(io: Io): Command {
  const command = new Command("why")
    .description("Say in one sentence why a node is as it is, then the facts, then what changes it.")
    .argument("<node>", "a Node, a plain machine's NodeUpdate, or its machine id")
    .action(async (name: string, _options: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags>();
      await withClient(flags, io, async (client) => {
        const snapshot = await readSnapshot(client, flags.namespace);
        const now = io.clock.now();
        const explanation = explain(snapshot, name, now);
        if (explanation === undefined) throw new Failure(unknownNode(snapshot, name));
        const { output } = flags;
        if (output === "json" || output === "yaml") printData(io, explanation, output);
        else if (output === "name") io.out(`${explanation.situation}\n`);
        else io.out(explanationText(explanation, now));
      });
    });
  return addOutputFlag(command);
}

export function explanationText({ sentence, facts, advice }: Explanation, now: number): string {
  const lines = [visible(sentence)];
  if (facts.length > 0) lines.push("", "Because:");
  for (const { text, since } of facts)
    lines.push(`  ${visible(text)}${since === undefined ? "" : `, since ${when(since, now)}`}`);
  if (advice.length > 0)
    lines.push("", advice.length === 1 ? "What changes it:" : "What changes it, or shows more:");
  for (const { command, effect } of advice) lines.push(`  ${command}`, `      ${visible(effect)}`);
  return `${lines.join("\n")}\n`;
}

/** Names that a person may have meant. */
function unknownNode({ nodes, nodeUpdates }: Snapshot, name: string): string {
  const known = [...new Set([...nodes, ...nodeUpdates].map(({ metadata }) => metadata.name))].toSorted();
  const near = known.filter((each) => each.includes(name) || name.includes(each)).slice(0, 5);
  const hint =
    near.length > 0
      ? `did you mean ${near.join(", ")}?`
      : "`kubectl get nodes,nodeupdates` lists what there is";
  return `there is no Node, NodeUpdate or machine id ${name}: ${hint}`;
}
