/** How a person frees a slot that its machine does not give back. */
import { STEAL_ANNOTATION } from "../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { stealOf } from "../api/steal.ts";
import { isApiError, type KubeClient } from "../runtime/client.ts";
import { names } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { oneLine } from "./node.ts";
import { annotate, confirm, need, needUpdate, waitFor } from "./write.ts";

const FREED_WITHIN = 60_000;

/** Frees the slot of a Node, or of a machine with our agent. */
export async function stealSlot(
  client: Pick<KubeClient, "get" | "list" | "patch">,
  io: Io,
  name: string,
  reason: string,
  yes: boolean | undefined,
): Promise<void> {
  const update = await needUpdate(client, name);
  const grant = update.status?.grant;
  if (grant === undefined) throw new Failure(`${name} holds no slot: there is nothing to steal`);
  const word = stealOf(oneLine(reason), grant.nonce);
  if (word === update.status?.stolen)
    throw new Failure(
      `"${reason}" freed this slot of ${name} before: give another reason, or nothing happens`,
    );
  const away = update.status?.connected === true ? "Its agent IS connected." : "Its agent is away.";
  await confirm(
    io,
    `${name} holds a slot (${grant.phase}) in ${names(grant.budgets, 10)}. ${away} Freeing it lets another node go down; if this one is down too, the budget is overrun.`,
    yes,
  );
  await askToFree(client, update.metadata.name, grant.nonce, word);
  await waitFor(io, `the manager frees the slot of ${name}`, FREED_WITHIN, async () => {
    const now = await client.get<NodeUpdate>(nodeUpdate, { name: update.metadata.name });
    return now.status?.grant?.nonce === grant.nonce ? undefined : true;
  });
  io.out(`nodeupdate/${update.metadata.name} slot freed\n`);
}

/** Asks the manager to free the grant that a person said yes to, and no other: a `Failure` where it ended, or the object was changed meanwhile. */
export async function askToFree(
  client: Pick<KubeClient, "get" | "patch">,
  name: string,
  nonce: string,
  word: string,
): Promise<void> {
  const { metadata, status } = await need<NodeUpdate>(client, nodeUpdate, name);
  if (status?.grant?.nonce !== nonce) {
    const now = status?.grant === undefined ? "it holds none now" : "it holds another one now";
    throw new Failure(
      `the slot of ${name} that was to be freed ended meanwhile, and ${now}: nothing was changed; look again with \`kubectl slipway why ${name}\``,
    );
  }
  try {
    await annotate(client, nodeUpdate, name, { [STEAL_ANNOTATION]: word }, metadata.resourceVersion);
  } catch (error) {
    if (!isApiError(error, "Conflict")) throw error;
    throw new Failure(
      `nodeupdate/${name} was changed while its slot was to be freed: nothing was changed; run the same again`,
    );
  }
}
