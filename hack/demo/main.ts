/**
 * The main job, for real: a control plane, 12 machines in 3 zones, and four releases, of which
 * two are bad. Usage: npm run demo [-- --keep]. Ends with 0 when everything went as it must.
 */

import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { Board } from "../../cli/board.ts";
import { systemClock } from "../../ports/clock.ts";
import { Cluster, type MachineSpec } from "../cluster/cluster.ts";
import type { Defect } from "../cluster/foundry.ts";
import { observe } from "../cluster/observer.ts";
import { waitUntil } from "../plane/wait.ts";
import { channel, GROUP, rebootWindow, updateGroup, workloads } from "./manifests.ts";
import { summary } from "./summary.ts";

const ZONES = ["east", "north", "west"];
const MACHINES: MachineSpec[] = Array.from({ length: 12 }, (_, index) => ({
  name: `node-${String(index + 1).padStart(2, "0")}`,
  zone: ZONES[index % ZONES.length] ?? "east",
}));
const MAX_DOWN = 2;
const MAX_DOWN_PER_ZONE = 1;
const PHASE_DEADLINE = 180_000;
const LOOK_EVERY = 300;

const keep = process.argv.includes("--keep");
const board = new Board(
  {
    isTTY: process.stdout.isTTY,
    get columns() {
      return process.stdout.columns ?? 160;
    },
    write: (text) => process.stdout.write(text),
  },
  systemClock,
);
const begin = Date.now();
const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(0)} s`;

let cluster: Cluster | undefined;
let stopping = false;

async function stop(code: number): Promise<never> {
  if (!stopping) {
    stopping = true;
    await cluster?.stop({ keepLogs: code !== 0 && code !== 130 });
  }
  process.exit(code);
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(130));

try {
  board.say(
    "Starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, Slipway and 12 machines",
  );
  cluster = await Cluster.start({ machines: MACHINES, onProgress: (line) => board.say(`  ${line}`) });
  await rollouts(cluster);
  const verdict = summary(cluster, observe(cluster.machines), {
    total: MAX_DOWN,
    perZone: MAX_DOWN_PER_ZONE,
  });
  board.say(verdict.text);
  board.say(`\nDone in ${seconds(begin)}.`);
  if (!verdict.ok) await stop(1);
  if (!keep) await stop(0);
  board.say(
    [
      "",
      "Everything stays up until Ctrl-C. Try:",
      `  export KUBECONFIG=${cluster.plane.kubeconfig}`,
      "  kubectl get ug,rb,rw,nu,releases,channels",
      "  kubectl describe ug harbor",
      "  kubectl get nu -o wide",
      `  kubectl annotate node ${MACHINES[0]?.name} slipway.dev/hold="looking at it"`,
      "",
    ].join("\n"),
  );
  await new Promise(() => undefined);
} catch (error) {
  board.say(
    `\nThe demo failed after ${seconds(begin)}: ${error instanceof Error ? error.message : String(error)}`,
  );
  await stop(1);
}

async function rollouts(all: Cluster): Promise<void> {
  await all.apply(...workloads, rebootWindow);
  board.title("1.1.0: a good release");
  await publish(all, "1.1.0");
  await all.apply(updateGroup(all.servicePort));
  await follow(all, "all nodes run 1.1.0", (_group, nodes) => everyoneRuns(nodes, "1.1.0"));

  board.title("1.2.0: its service fails the HTTP check");
  await publish(all, "1.2.0", "service");
  await follow(all, "the group halts on harbor-1.2.0", haltedOn("harbor-1.2.0"));

  board.title("1.2.1: its agent never starts");
  await publish(all, "1.2.1", "agent");
  await follow(all, "the group halts on harbor-1.2.1", haltedOn("harbor-1.2.1"));

  board.title("1.2.2: good again");
  await publish(all, "1.2.2");
  await follow(all, "all nodes run 1.2.2", (_group, nodes) => everyoneRuns(nodes, "1.2.2"));
}

async function publish(all: Cluster, version: string, defect?: Defect): Promise<void> {
  const release = await all.foundry.release(version, defect);
  await all.apply(release.manifest, channel(release.manifest.metadata.name));
  board.say(`published harbor-${version}, channel stable points at it`);
}

function everyoneRuns(nodes: readonly NodeUpdate[], version: string): boolean {
  const done = ({ status }: NodeUpdate): boolean =>
    status?.running === version && status.step === "Idle" && status.grant === undefined;
  return nodes.length === MACHINES.length && nodes.every(done);
}

/** The group stopped itself on `release`, and every node runs 1.1.0 and holds no slot. */
function haltedOn(
  release: string,
): (group: UpdateGroup | undefined, nodes: readonly NodeUpdate[]) => boolean {
  return (group, nodes) =>
    group?.status?.target === release &&
    group.status.conditions?.some(({ type, status }) => type === "Halted" && status === "True") === true &&
    nodes.every(({ status }) => status?.grant === undefined && status?.running === "1.1.0");
}

/** Draws the board until `done`. */
async function follow(
  all: Cluster,
  what: string,
  done: (group: UpdateGroup | undefined, nodes: readonly NodeUpdate[]) => boolean,
): Promise<void> {
  const since = Date.now();
  await waitUntil(
    async () => {
      const [group, nodes] = await Promise.all([
        all.get<UpdateGroup>("updategroups", GROUP),
        all.list<NodeUpdate>("nodeupdates"),
      ]);
      if (group !== undefined) board.group(group);
      for (const node of nodes) board.node(node);
      return done(group, nodes);
    },
    { what, deadline: PHASE_DEADLINE, interval: LOOK_EVERY },
  );
  board.say(`${what} (${seconds(since)})`);
}
