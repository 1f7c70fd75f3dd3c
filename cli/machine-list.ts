/** The list of machines outside of the cluster: those with our agent, of NodeUpdates, and the others, of a gateway's console. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { type ListedMachine, MachineState } from "../console/contract.ts";
import { filterOf, viewMachine } from "../console/machine.ts";
import { type MachineFilter, operations } from "../console/operations.ts";
import { idOf } from "../coordination/identity.ts";
import type { KubeClient } from "../runtime/client.ts";
import type { ApiConfig } from "../runtime/kubeconfig.ts";
import { withClient } from "./connection.ts";
import { addConsoleFlags, type ConsoleFlags, orMissing, withConsole } from "./console-access.ts";
import { readList } from "./console-api.ts";
import { span } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";
import { visible } from "./visible.ts";

/** As many as a person looks through. */
const LIMIT = 500;
/** The most that a gateway knows. */
const MAX_LIMIT = 200_000;

type Flags = ConsoleFlags &
  OutputFlags & {
    selector?: string;
    group?: string;
    state?: string;
    running?: string;
    zone?: string;
    search?: string;
    kind?: "machine" | "foreign";
    limit: number;
  };

/** A machine with our agent has labels as well. */
export type Row = ListedMachine & { labels?: Record<string, string> };

/** What was found, and what was not. */
export interface Machines {
  items: Row[];
  /** That match, listed or not. */
  total: number;
  /** Why those without our agent are missing. */
  missing: string | undefined;
  /** Why those without our agent are not as they are now. */
  stale: string | undefined;
}

/** Makes `command` list them. */
export function addMachineList(command: Command, io: Io): Command {
  command
    .description(
      "List the machines outside of the cluster: those that joined by a token and run our agent, and those without it, which a gateway knows by Omaha, FleetLock or locksmith. For the second kind a gateway's console is asked, as docs/console.md sets it up: through `kubectl port-forward`, or where --console says.",
    )
    .option("--group <group>", "those of an UpdateGroup")
    .option("--state <states>", "one, or several with commas, such as Failed,Rebooting", statesIn)
    .option("--running <version>", "those that run it; empty for those of which it is not known")
    .option("--zone <zone>", "those in it")
    .option("--search <text>", "those with this in their name")
    .addOption(
      new Option("--kind <kind>", "machine: those with our agent; foreign: those without it").choices([
        "machine",
        "foreign",
      ]),
    )
    .option(
      "-l, --selector <labels>",
      "labels of NodeUpdates, as kubectl get takes them: machines without our agent have none",
    )
    .option("--limit <number>", "most that are listed", limitIn, LIMIT)
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<Flags>();
      if (flags.selector !== undefined && (flags.kind === "foreign" || flags.console !== undefined))
        throw new Failure("machines without our agent have no labels: leave --selector out");
      const found = await withClient(flags, io, (client, config) => findMachines(client, config, flags, io));
      print(io, found, flags.output);
      const why = sentenceOf(found);
      // Who asks for nothing else is not told by an empty list that there are none.
      if (why !== undefined && isDemanded(flags)) throw new Failure(why);
      if (why !== undefined) io.err(`note: ${why}\n`);
    });
  return addOutputFlag(addConsoleFlags(command));
}

function statesIn(text: string): string {
  const wrong = text.split(",").find((state) => !MachineState.safeParse(state).success);
  if (wrong === undefined) return text;
  throw new InvalidArgumentError(`${wrong} is no state: ${MachineState.options.join(", ")}.`);
}

function limitIn(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw new InvalidArgumentError(`A number from 1 to ${MAX_LIMIT}.`);
}

function isDemanded({ kind, console }: Flags): boolean {
  return kind === "foreign" || console !== undefined;
}

async function findMachines(
  client: Pick<KubeClient, "get" | "list">,
  config: Pick<ApiConfig, "credentials">,
  flags: Flags,
  io: Io,
): Promise<Machines> {
  const { group, state, running: version, zone, search, kind, limit, selector } = flags;
  const filter: MachineFilter = { group, state, version, zone, search };
  const ours = kind === "foreign" ? [] : await withAgent(client, { ...filter, kind: "machine" }, selector);
  // One at least: the answer says how many there are.
  const left = Math.max(1, limit - ours.length);
  const { told: others, missing } = await orMissing(io, async () => {
    const wanted =
      kind !== "machine" &&
      selector === undefined &&
      (isDemanded(flags) || (await servesOthers(client, group)));
    if (!wanted) return undefined;
    return await withConsole(flags, { client, config }, io, (read) =>
      readList(read, operations.listMachines, { ...filter, kind: "foreign" }, left),
    );
  });
  return {
    items: [...ours, ...(others?.items ?? [])].slice(0, limit),
    total: ours.length + (others?.total ?? 0),
    ...{ missing, stale: others?.stale },
  };
}

/** Sorted by name. */
async function withAgent(
  client: Pick<KubeClient, "list">,
  filter: MachineFilter,
  selector: string | undefined,
): Promise<Row[]> {
  const selection = selector === undefined ? {} : { labelSelector: selector };
  const { items } = await client.list<NodeUpdate>(nodeUpdate, selection);
  const passes = filterOf(filter);
  return items
    .map((update): Row => ({ ...viewMachine(update), labels: update.spec.machineRef?.labels ?? {} }))
    .filter(passes)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Where no group serves machines without our agent there is nobody to be asked for. */
async function servesOthers(client: Pick<KubeClient, "list">, only: string | undefined): Promise<boolean> {
  const { items } = await client.list<UpdateGroup>(updateGroup);
  return items.some(
    ({ metadata, spec }) => spec.machines !== undefined && (only === undefined || metadata.name === only),
  );
}

function print(io: Io, { items, total, missing, stale }: Machines, output: OutputFlags["output"]): void {
  if (output === "json" || output === "yaml") printData(io, { items, total, missing, stale }, output);
  else if (output === "name") io.out(items.map((row) => `${visible(resourceOf(row))}\n`).join(""));
  else if (items.length === 0) io.err("No machines found\n");
  else io.out(table(items, columnsAt(io.clock.now()), output === "wide"));
  const more = total - items.length;
  if (more > 0)
    io.err(
      `note: ${more} more: --limit lists more than ${items.length}, and --group, --state, --running and --search choose\n`,
    );
  if (stale !== undefined) io.err(`note: of machines without our agent: ${visible(stale)}\n`);
}

/** The first is one of Kubernetes, the second stands for the id that other commands take. */
function resourceOf(row: Row): string {
  return row.kind === "foreign" ? `machine/${idOf(row.uid)}` : `nodeupdate.slipway.dev/${row.name}`;
}

/** Undefined where nothing is missing. */
export function sentenceOf({ missing }: Pick<Machines, "missing">): string | undefined {
  if (missing === undefined) return undefined;
  return `machines without our agent are not listed, because ${missing}; the console has them, and \`kubectl get updategroups -o yaml\` their numbers and who holds a slot, in status.machines`;
}

export function columnsAt(now: number): Column<Row>[] {
  const age = (time: string | undefined): string => (time === undefined ? "" : span(now - Date.parse(time)));
  return [
    { name: "NAME", of: ({ name }) => name },
    { name: "GROUP", of: ({ group }) => group },
    { name: "BY", of: ({ kind, protocol }) => (kind === "foreign" ? (protocol ?? "") : "agent") },
    { name: "RUNNING", of: ({ version }) => version },
    { name: "TARGET", of: ({ target }) => target },
    { name: "STATE", of: ({ state }) => state },
    { name: "REASON", of: ({ reason }) => reason },
    { name: "SINCE", of: ({ since }) => age(since) },
    {
      name: "SEEN",
      of: ({ kind, connected, lastSeen }) =>
        kind === "foreign" ? age(lastSeen) : connected === true ? "connected" : "away",
    },
    { name: "MACHINE ID", of: ({ uid }) => idOf(uid), wide: true },
    { name: "ZONE", of: ({ zone }) => zone, wide: true },
    {
      name: "LABELS",
      of: ({ labels = {} }) =>
        Object.entries(labels)
          .map((pair) => pair.join("="))
          .join(","),
      wide: true,
    },
  ];
}
