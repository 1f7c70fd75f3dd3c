/**
 * Machines into a group. What a group is made of differs: a Node is in it by its labels, a plain machine by its record
 * in etcd, and a machine without our agent by what it asks for, so that nobody but its owner can move it.
 */
import { HOLD_ANNOTATION } from "../../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { type LabelSelector, matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Done } from "../../console/contract.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { Person } from "../../runtime/access.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { NODES, type Node } from "../../runtime/core.ts";
import type { Objects } from "../objects/view.ts";
import { type ObjectWriter, refusal, WriteError } from "../objects/write.ts";
import type { Board } from "./board.ts";
import type { ForeignMachines } from "./foreign.ts";

export interface AssignerOptions {
  objects: Objects;
  board: Board;
  foreign: ForeignMachines;
  writer: ObjectWriter;
  client: Pick<KubeClient, "get">;
  coordination: Pick<Coordination, "moveMachine">;
}

type Outcome = NonNullable<Done["machines"]>[number];

export class Assigner {
  readonly #options: AssignerOptions;

  constructor(options: AssignerOptions) {
    this.#options = options;
  }

  /** Each machine goes by itself: what one refuses holds up no other. */
  async assign(person: Person, uids: readonly string[], group: UpdateGroup): Promise<Done> {
    const machines: Outcome[] = [];
    for (const uid of new Set(uids)) machines.push(await this.#one(person, uid, group));
    const done = machines.filter((machine) => machine.done).length;
    const { name } = group.metadata;
    return {
      message: `${done} of ${machines.length} machines are assigned to UpdateGroup ${name}.`,
      notes: [],
      kubectl: `kubectl label node NODE ${labelsText(group.spec.nodeSelector)}`,
      machines,
    };
  }

  async #one(person: Person, uid: string, group: UpdateGroup): Promise<Outcome> {
    const refused = (message: string): Outcome => ({ uid, done: false, message });
    const update = this.#options.board.updateOf(uid);
    try {
      if (update === undefined) {
        return this.#options.foreign.get(uid) !== undefined
          ? refused(
              "It runs no agent of ours: it is in the group that it asks for. Change its URL or its track.",
            )
          : refused("There is no such machine.");
      }
      if (update.spec.group === group.metadata.name)
        return { uid, done: true, message: "It is in it already." };
      if (update.spec.machineRef !== undefined) return await this.#plain(person, uid, update, group);
      return await this.#node(person, uid, update, group);
    } catch (error) {
      if (error instanceof WriteError) return refused(error.message);
      throw error;
    }
  }

  async #plain(person: Person, uid: string, update: NodeUpdate, group: UpdateGroup): Promise<Outcome> {
    const { writer, coordination } = this.#options;
    await writer.demand({ person, verb: "patch", resource: nodeUpdate, name: update.metadata.name });
    const moved = await coordination.moveMachine(uid, group.metadata.name);
    if (!moved) return { uid, done: false, message: "It did not join, or was forgotten." };
    return { uid, done: true, message: "The manager moves it within half a minute." };
  }

  async #node(person: Person, uid: string, update: NodeUpdate, group: UpdateGroup): Promise<Outcome> {
    const { writer, client, objects } = this.#options;
    const name = update.spec.nodeName ?? update.metadata.name;
    await writer.demand({ person, verb: "patch", resource: NODES, name });
    const node = await client.get<Node>(NODES, { name }).catch((error: unknown) => {
      throw refusal(error, NODES, name);
    });
    const planned = planLabels(node.metadata.labels ?? {}, group, objects.groups.list());
    if (typeof planned === "string") return { uid, done: false, message: planned };
    await writer.label(person, NODES, name, planned, { fieldManager: "slipway-console" });
    const held = node.metadata.annotations?.[HOLD_ANNOTATION] === undefined ? "" : " A person holds it.";
    return { uid, done: true, message: `Its labels are those of the group.${held}` };
  }
}

/**
 * Labels that put a Node into `group` and into no other; `null` takes one off. A sentence where labels alone can't: a
 * selector of expressions leaves open which labels it means.
 */
export function planLabels(
  labels: Readonly<Record<string, string>>,
  group: UpdateGroup,
  groups: readonly UpdateGroup[],
): Record<string, string | null> | string {
  const wanted = onlyLabels(group.spec.nodeSelector);
  if (wanted === undefined) return expressions(group);
  const change: Record<string, string | null> = {};
  for (const [key, value] of Object.entries(wanted)) if (labels[key] !== value) change[key] = value;
  const after = (): Record<string, string> => {
    const all = Object.entries({ ...labels, ...change });
    return Object.fromEntries(all.filter((pair): pair is [string, string] => pair[1] !== null));
  };
  for (const other of groups) {
    if (other.metadata.name === group.metadata.name) continue;
    if (!matches(other.spec.nodeSelector, after())) continue;
    const own = onlyLabels(other.spec.nodeSelector);
    if (own === undefined) return expressions(other);
    const removable = Object.keys(own).filter((key) => !(key in wanted) && !isReserved(key));
    const [first] = removable;
    if (first === undefined) {
      return `UpdateGroup ${other.metadata.name} selects it by labels that can't be taken off; change its nodeSelector.`;
    }
    change[first] = null;
  }
  return change;
}

/** Kubernetes' own labels mean more than a group. */
function isReserved(key: string): boolean {
  return /(?:^|\.)(?:kubernetes|k8s)\.io\//.test(key);
}

function onlyLabels({ matchLabels, matchExpressions }: LabelSelector): Record<string, string> | undefined {
  return (matchExpressions ?? []).length > 0 ? undefined : (matchLabels ?? {});
}

function expressions({ metadata }: UpdateGroup): string {
  return `UpdateGroup ${metadata.name} selects by expressions: label the Node as they ask, with kubectl.`;
}

function labelsText(selector: LabelSelector): string {
  return Object.entries(selector.matchLabels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}
