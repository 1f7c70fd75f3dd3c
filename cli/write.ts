/** What commands write: annotations and fields, each as one small patch. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import type { NodeUpdate } from "../api/node-update.ts";
import { nodeUpdate } from "../api/node-update.ts";
import { sleep } from "../ports/clock.ts";
import { isApiError, type KubeClient } from "../runtime/client.ts";
import { NODES, type Node } from "../runtime/core.ts";
import { Failure, type Io } from "./io.ts";

/** Sets annotations; `null` removes one. With a `resourceVersion` only on the object as it was read, or an `ApiError` of kind Conflict. */
export async function annotate<T extends KubeObject>(
  client: Pick<KubeClient, "patch">,
  resource: Resource,
  name: string,
  annotations: Readonly<Record<string, string | null>>,
  resourceVersion?: string,
): Promise<T> {
  const body = { metadata: { annotations, ...(resourceVersion === undefined ? {} : { resourceVersion }) } };
  return await client.patch<T>(resource, { name }, { type: "merge", body });
}

/** The object, or undefined if there is none. */
export async function find<T extends KubeObject>(
  client: Pick<KubeClient, "get">,
  resource: Resource,
  name: string,
  namespace?: string,
): Promise<T | undefined> {
  try {
    return await client.get<T>(resource, { name, ...(namespace === undefined ? {} : { namespace }) });
  } catch (error) {
    if (isApiError(error, "NotFound")) return undefined;
    throw error;
  }
}

/** The object; where there is none, a `Failure` that says how to list them. */
export async function need<T extends KubeObject>(
  client: Pick<KubeClient, "get">,
  resource: Resource,
  name: string,
): Promise<T> {
  const found = await find<T>(client, resource, name);
  if (found === undefined)
    throw new Failure(`there is no ${resource.kind} ${name}: \`kubectl get ${resource.plural}\` lists them`);
  return found;
}

export interface Named {
  node: Node | undefined;
  update: NodeUpdate | undefined;
}

/** The Node and NodeUpdate of that name, or the NodeUpdate of that machine id; a `Failure` if there is neither. */
export async function needNode(client: Pick<KubeClient, "get" | "list">, name: string): Promise<Named> {
  const [node, update] = await Promise.all([
    find<Node>(client, NODES, name),
    find<NodeUpdate>(client, nodeUpdate, name),
  ]);
  if (node !== undefined || update !== undefined) return { node, update };
  const { items } = await client.list<NodeUpdate>(nodeUpdate);
  const machine = items.find(({ spec }) => spec.machineRef?.machineId === name);
  if (machine !== undefined) return { node: undefined, update: machine };
  throw new Failure(
    `there is no Node, NodeUpdate or machine id ${name}: \`kubectl get nodes,nodeupdates\` lists them`,
  );
}

/** The NodeUpdate of that name or machine id. */
export async function needUpdate(
  client: Pick<KubeClient, "get" | "list">,
  name: string,
): Promise<NodeUpdate> {
  const { update } = await needNode(client, name);
  if (update === undefined)
    throw new Failure(`Node ${name} has no NodeUpdate: \`kubectl slipway why ${name}\` says why`);
  return update;
}

const LOOK_EVERY = 500;

/** Looks until `read` gives something, for `milliseconds` at most; a `Failure` that says what was waited for. */
export async function waitFor<T>(
  io: Io,
  what: string,
  milliseconds: number,
  read: () => Promise<T | undefined>,
): Promise<T> {
  const end = io.clock.monotonic() + milliseconds;
  for (;;) {
    const found = await read();
    if (found !== undefined) return found;
    if (io.clock.monotonic() >= end)
      throw new Failure(
        `waited ${Math.round(milliseconds / 1000)} s in vain: ${what}; run \`kubectl slipway doctor\``,
      );
    await sleep(io.clock, LOOK_EVERY, io.signal);
  }
}

/** Goes on only if a person types `yes`, or said it before by `--yes`. */
export async function confirm(io: Io, question: string, yes: boolean | undefined): Promise<void> {
  if (yes === true) return;
  const answer = await io.ask(`${question}\nType yes to go on: `);
  if (answer === undefined) throw new Failure(`${question} There is no terminal to ask on: give --yes`);
  if (answer.trim().toLowerCase() !== "yes") throw new Failure("nothing was changed");
}
