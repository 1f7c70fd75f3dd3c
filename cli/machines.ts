/** `kubectl slipway machines`: the machines outside of the cluster that run our agent. */
import { Command } from "commander";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { span } from "./explain/words.ts";
import type { Io } from "./io.ts";
import { addOutputFlag, type Column, type OutputFlags, printObjects } from "./output.ts";

export function machinesCommand(io: Io): Command {
  const command = new Command("machines")
    .description("List the plain machines: those that joined by a token and are no Nodes.")
    .option("-l, --selector <labels>", "labels of the NodeUpdates, as kubectl get takes them")
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags & { selector?: string }>();
      await withClient(flags, io, async (client) => {
        const selection = flags.selector === undefined ? {} : { labelSelector: flags.selector };
        const { items } = await client.list<NodeUpdate>(nodeUpdate, selection);
        const machines = items.filter(({ spec }) => spec.machineRef !== undefined);
        printObjects(io, machines, columnsAt(io.clock.now()), flags.output);
      });
    });
  return addOutputFlag(command);
}

function columnsAt(now: number): Column<NodeUpdate>[] {
  return [
    { name: "NAME", of: ({ metadata }) => metadata.name },
    { name: "GROUP", of: ({ spec }) => spec.group },
    { name: "RUNNING", of: ({ status }) => status?.running ?? "" },
    { name: "TARGET", of: ({ status }) => status?.target ?? "" },
    { name: "STEP", of: ({ status }) => status?.step ?? "" },
    { name: "REASON", of: ({ status }) => status?.reason ?? "" },
    {
      name: "SINCE",
      of: ({ status }) => (status?.since === undefined ? "" : span(now - Date.parse(status.since))),
    },
    { name: "CONNECTED", of: ({ status }) => (status?.connected === true ? "yes" : "no") },
    { name: "MACHINE ID", of: ({ spec }) => spec.machineRef?.machineId ?? "", wide: true },
    {
      name: "LABELS",
      of: ({ spec }) =>
        Object.entries(spec.machineRef?.labels ?? {})
          .map((pair) => pair.join("="))
          .join(","),
      wide: true,
    },
  ];
}
