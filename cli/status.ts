/** `kubectl slipway status`: the departures board. */
import { Command } from "commander";
import type { KubeObject } from "../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { MemoryStore } from "../runtime/memory-store.ts";
import { reflect } from "../runtime/reflector.ts";
import type { RestClient } from "../runtime/rest-client.ts";
import { Board, boardLines, groupLines } from "./board.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { leaderOf } from "./explain/subject.ts";
import { when } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { addOutputFlag, type OutputFlags, printObjects } from "./output.ts";
import { readLease } from "./snapshot.ts";

interface Flags extends GlobalFlags, OutputFlags {
  watch?: boolean;
  selector?: string;
}

export function statusCommand(io: Io): Command {
  const command = new Command("status")
    .description("Show the departures board: what each group does, and what each node waits for.")
    .argument("[group...]", "UpdateGroups; all if absent")
    .option("-w, --watch", "go on showing changes, until interrupted")
    .option("-l, --selector <labels>", "labels of the NodeUpdates, as kubectl get takes them")
    .action(async (groups: string[], _options: unknown, self: Command) => {
      const flags = self.optsWithGlobals<Flags>();
      await withClient(flags, io, (client) =>
        flags.watch === true ? watch(client, groups, flags, io) : show(client, groups, flags, io),
      );
    });
  return addOutputFlag(command);
}

async function show(client: RestClient, wanted: readonly string[], flags: Flags, io: Io): Promise<void> {
  const selection = flags.selector === undefined ? {} : { labelSelector: flags.selector };
  const [groups, nodes, lease] = await Promise.all([
    client.list<UpdateGroup>(updateGroup),
    client.list<NodeUpdate>(nodeUpdate, selection),
    readLease(client, flags.namespace),
  ]);
  const missing = wanted.find((name) => !groups.items.some(({ metadata }) => metadata.name === name));
  if (missing !== undefined)
    throw new Failure(`there is no UpdateGroup ${missing}: \`kubectl get updategroups\` lists them`);
  const inGroups = (name: string): boolean => wanted.length === 0 || wanted.includes(name);
  const shownGroups = groups.items.filter(({ metadata }) => inGroups(metadata.name));
  const shownNodes = nodes.items.filter(({ spec }) => inGroups(spec.group));
  if (flags.output === undefined || flags.output === "wide") {
    const now = io.clock.now();
    const leader = leaderOf({ lease }, now);
    if (leader.state === "away" || leader.state === "never") {
      const since = leader.since === undefined ? "" : ` since ${when(leader.since, now)}`;
      io.out(
        `No manager leads${since}: what follows is what was seen last. Run \`kubectl slipway doctor\`.\n`,
      );
    }
    if (shownNodes.length === 0)
      io.out(
        shownGroups
          .flatMap(groupLines)
          .map((line) => `${line}\n`)
          .join(""),
      );
    else
      io.out(
        boardLines(shownGroups, shownNodes)
          .map((line) => `${line.trimEnd()}\n`)
          .join(""),
      );
    if (shownGroups.length === 0) io.err("There is no UpdateGroup yet: declare one, as docs/examples do.\n");
    return;
  }
  printObjects<KubeObject>(io, [...shownGroups, ...shownNodes], [], flags.output);
}

/** Until `io.signal` aborts. */
async function watch(client: RestClient, wanted: readonly string[], flags: Flags, io: Io): Promise<void> {
  const board = new Board(
    {
      isTTY: io.terminal.isTTY,
      get columns() {
        return io.terminal.columns;
      },
      write: (text) => io.out(text),
    },
    io.clock,
  );
  const groups = new MemoryStore<UpdateGroup>();
  const nodes = new MemoryStore<NodeUpdate>();
  const inGroups = (name: string): boolean => wanted.length === 0 || wanted.includes(name);
  groups.onChange((change) => {
    if (change.type === "deleted") board.removeGroup(change.before.metadata.name);
    else if (inGroups(change.object.metadata.name)) board.group(change.object);
  });
  nodes.onChange((change) => {
    if (change.type === "deleted") board.removeNode(change.before.metadata.name);
    else if (inGroups(change.object.spec.group)) board.node(change.object);
  });
  const common = { clock: io.clock, random: systemRandom, log: silentLogger };
  const selection = flags.selector === undefined ? {} : { labelSelector: flags.selector };
  // The first list tells what is wrong, which a reflector would go on trying.
  await client.list<UpdateGroup>(updateGroup);
  await Promise.all([
    reflect({ ...common, source: client.watches(updateGroup, {}), store: groups }, io.signal),
    reflect({ ...common, source: client.watches(nodeUpdate, selection), store: nodes }, io.signal),
  ]);
  board.settle();
}
