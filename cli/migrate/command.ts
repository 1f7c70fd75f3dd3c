/** `kubectl slipway migrate`: the settings of other reboot operators, as ours. */
import { readFile } from "node:fs/promises";
import { Command } from "commander";
import type { Resource } from "../../api/kind.ts";
import { DAEMON_SETS, DEPLOYMENTS, NODES } from "../../runtime/core.ts";
import { type GlobalFlags, withClient } from "../connection.ts";
import { Failure, type Io } from "../io.ts";
import { fromBrupop, isBrupop } from "./brupop.ts";
import { fromFluo, isFluo } from "./fluo.ts";
import { fromKured, isKured } from "./kured.ts";
import { type Plan, planText } from "./plan.ts";
import { type Loose, readManifests } from "./workload.ts";

const WORKLOADS: readonly Resource[] = [DAEMON_SETS, DEPLOYMENTS];

interface Source {
  name: string;
  what: string;
  plans(objects: readonly Loose[]): Plan[];
}

const SOURCES: readonly Source[] = [
  {
    name: "kured",
    what: "kured's DaemonSet",
    plans: (objects) => objects.filter(isKured).map(fromKured),
  },
  {
    name: "fluo",
    what: "the Flatcar Linux Update Operator's Deployment and agents",
    plans: (objects) =>
      objects.some(isFluo)
        ? [
            fromFluo(
              objects,
              objects.filter(({ kind }) => kind === "Node"),
            ),
          ]
        : [],
  },
  {
    name: "brupop",
    what: "the Bottlerocket update operator's workloads",
    plans: (objects) => (objects.some(isBrupop) ? [fromBrupop(objects)] : []),
  },
];

export function migrateCommand(io: Io): Command {
  const migrate = new Command("migrate").description(
    "Print the settings of another reboot operator as ours, and what can't be carried over. Changes nothing.",
  );
  for (const source of SOURCES) {
    migrate
      .command(source.name)
      .description(`From ${source.what}.`)
      .option("-f, --filename <file...>", "manifests instead of the cluster; - is standard input")
      .option("-A, --all-namespaces", "look in every namespace, which is what happens without -n too")
      .action(async (_: unknown, self: Command) => {
        const flags = self.optsWithGlobals<GlobalFlags & { filename?: string[] }>();
        const objects =
          flags.filename === undefined ? await fromCluster(flags, io) : await fromFiles(flags.filename, io);
        const plans = source.plans(objects);
        if (plans.length === 0) {
          const where = flags.filename === undefined ? "the cluster" : flags.filename.join(", ");
          throw new Failure(`${source.what} was not found in ${where}: give its manifests by -f`);
        }
        io.out(plans.map(planText).join("---\n"));
      });
  }
  return migrate;
}

async function fromFiles(files: readonly string[], io: Io): Promise<Loose[]> {
  const texts = await Promise.all(
    files.map(async (file) => {
      try {
        return file === "-" ? await io.readInput() : await readFile(file, "utf8");
      } catch (error) {
        throw new Failure(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}`);
      }
    }),
  );
  return texts.flatMap(readManifests);
}

async function fromCluster(flags: GlobalFlags, io: Io): Promise<Loose[]> {
  return await withClient(flags, io, async (client) => {
    const selection = flags.namespace === undefined ? {} : { namespace: flags.namespace };
    const lists = await Promise.all([
      ...WORKLOADS.map((resource) => client.list(resource, selection)),
      client.list(NODES),
    ]);
    return readManifests(JSON.stringify({ kind: "List", items: lists.flatMap(({ items }) => items) }));
  });
}
