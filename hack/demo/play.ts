/** The demo's story: releases, good and bad, that reach the machines of a stage one after the other. */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Board } from "../../cli/board.ts";
import type { Defect, Foundry } from "../cluster/foundry.ts";
import type { Watched } from "../cluster/observer.ts";
import { waitUntil } from "../plane/wait.ts";
import { channel } from "./manifests.ts";

/** A cluster on which Slipway runs, and that the story is played on. */
export interface Stage {
  readonly machines: readonly Watched[];
  readonly foundry: Foundry;
  /** The group and what else is declared before the first release is out. */
  readonly declared: readonly object[];
  /** At most so many machines may be down at once. */
  readonly limit: { total: number; perZone: number };
  readonly acts: readonly Act[];
  apply(...manifests: readonly object[]): Promise<void>;
  group(): Promise<UpdateGroup | undefined>;
  nodes(): Promise<NodeUpdate[]>;
  /** What to try while it stays up. */
  invitation(): string;
  stop(options: { keepLogs: boolean }): Promise<void>;
}

/** A release, and what must become of it. */
export interface Act {
  title: string;
  version: string;
  /** Without one, all machines run it in the end; else the group stops itself, and they run what they ran. */
  defect?: Defect;
}

const PHASE_DEADLINE = 180_000;
const LOOK_EVERY = 300;

export const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(0)} s`;

export async function play(stage: Stage, board: Board): Promise<void> {
  let running = "";
  for (const { title, version, defect } of stage.acts) {
    board.title(`${version}: ${title}`);
    const { manifest } = await stage.foundry.release(version, defect);
    const { name } = manifest.metadata;
    await stage.apply(manifest, channel(name));
    board.say(`published ${name}, channel stable points at it`);
    if (running === "") await stage.apply(...stage.declared);
    if (defect === undefined) {
      await follow(stage, board, `all nodes run ${version}`, (_group, nodes) => everyoneRuns(nodes, version));
      running = version;
    } else {
      const before = running;
      await follow(stage, board, `the group halts on ${name}`, (group, nodes) =>
        haltedOn(name, before, group, nodes),
      );
    }
  }

  function everyoneRuns(nodes: readonly NodeUpdate[], version: string): boolean {
    const done = ({ status }: NodeUpdate): boolean =>
      status?.running === version && status.step === "Idle" && status.grant === undefined;
    return nodes.length === stage.machines.length && nodes.every(done);
  }
}

/** The group stopped itself on `release`, and every node runs `version` and holds no slot. */
function haltedOn(
  release: string,
  version: string,
  group: UpdateGroup | undefined,
  nodes: readonly NodeUpdate[],
): boolean {
  return (
    group?.status?.target === release &&
    group.status.conditions?.some(({ type, status }) => type === "Halted" && status === "True") === true &&
    nodes.every(({ status }) => status?.grant === undefined && status?.running === version)
  );
}

/** Draws the board until `done`. */
async function follow(
  stage: Stage,
  board: Board,
  what: string,
  done: (group: UpdateGroup | undefined, nodes: readonly NodeUpdate[]) => boolean,
): Promise<void> {
  const since = Date.now();
  await waitUntil(
    async () => {
      const [group, nodes] = await Promise.all([stage.group(), stage.nodes()]);
      if (group !== undefined) board.group(group);
      for (const node of nodes) board.node(node);
      return done(group, nodes);
    },
    { what, deadline: PHASE_DEADLINE, interval: LOOK_EVERY },
  );
  board.say(`${what} (${seconds(since)})`);
}
