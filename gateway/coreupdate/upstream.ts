/**
 * CoreUpdate's upstreams. There one mirrors all that another server publishes; here each Channel has an upstream of its
 * own, or none: those that have are the list. Without `POST`, which says neither product nor track.
 */
import { createHash } from "node:crypto";
import { type Channel, channel as channelKind, type Upstream, UpstreamUrl } from "../../api/channel.ts";
import { LOOK_ANNOTATION } from "../../api/labels.ts";
import type { Person } from "../../runtime/access.ts";
import { WriteError } from "../objects/write.ts";
import type { Answer } from "./calls.ts";
import type { Catalogue } from "./catalogue.ts";
import { change } from "./change.ts";
import type { Desk } from "./desk.ts";
import { demandFields } from "./owner.ts";
import { Problem } from "./problem.ts";
import { type FollowedUpstream, parseBody, UpstreamBody } from "./wire.ts";

type Following = Channel & { spec: { upstream: Upstream } };

export const listUpstreams: Answer = async (desk, { person }) => {
  await desk.demandList(person, "channels");
  return { items: followingIn(desk.catalogue()).map(describeUpstream) };
};

export const updateUpstream: Answer = async (desk, { person, at: [id = ""], body }) => {
  const { url: sent, label } = parseBody(UpstreamBody, body);
  const name = await nameFor(desk, id, (one) => desk.demand({ person, verb: "patch", ...one }));
  if (label !== "" && label !== name) {
    throw new Problem(400, `The label of an upstream is the name of its Channel, ${name}: it stays.`);
  }
  const url = UpstreamUrl.safeParse(checksAt(sent));
  if (!url.success) {
    throw new Problem(400, "--url starts with http:// or https://, and has no password and no query.");
  }
  const live = await liveOf(desk, name);
  const { urlKey } = live.spec.upstream;
  if (urlKey !== undefined) {
    throw new Problem(
      409,
      `The URL of Channel ${name} is the entry ${urlKey} of a Secret: kubectl edit secret, or point the Channel elsewhere by kubectl.`,
    );
  }
  const changes =
    url.data === live.spec.upstream.url
      ? []
      : [
          change(channelKind, name, "upstream", {
            ...{ uid: live.metadata.uid, spec: { upstream: { url: url.data } } },
          }),
        ];
  return describeUpstream(followed(await desk.change<Channel>(person, live, changes)) ?? live);
};

/** Ends the following; what was made of it stays. */
export const deleteUpstream: Answer = async (desk, { person, at: [id = ""] }) => {
  const name = await nameFor(desk, id, (one) => desk.demand({ person, verb: "patch", ...one }));
  const live = await liveOf(desk, name);
  if (live.spec.release === undefined) {
    throw new Problem(
      409,
      `Channel ${name} points at no Release yet, and has nothing but its upstream: point it at one, or delete it.`,
    );
  }
  demandFields(live, ["spec.upstream"]);
  await desk.unset(person, channelKind, live, "upstream");
  return describeUpstream(live);
};

/** Rights to all come before the first is asked for. */
export const syncUpstreams: Answer = async (desk, { person }) => {
  await desk.demandList(person, "channels");
  const names = followingIn(desk.catalogue()).map(({ metadata }) => metadata.name);
  for (const name of names) await desk.demand({ person, verb: "patch", resource: channelKind, name });
  const word = new Date(desk.options.clock.now()).toISOString();
  for (const name of names) await look(desk, person, name, word);
  const detail =
    names.length === 0
      ? "No Channel has an upstream."
      : `Asked now: ${names.join(", ")}. What came of it is in their conditions: kubectl describe channel.`;
  return { status: "ok", detail };
};

async function look(desk: Desk, person: Person, name: string, word: string): Promise<void> {
  try {
    await desk.annotate(person, channelKind, name, { [LOOK_ANNOTATION]: word });
  } catch (error) {
    // It has gone since the list was made.
    if (!(error instanceof WriteError) || error.kind !== "NotFound") throw error;
  }
}

function followed(channel: Channel): Following | undefined {
  return channel.spec.upstream === undefined ? undefined : (channel as Following);
}

/** In the order of their names. */
function followingIn({ channels }: Catalogue): Following[] {
  return channels
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .flatMap((channel) => followed(channel) ?? [])
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** Always the same for one name, never 0, which the CLI takes for none; exact as a number of JSON. */
export function upstreamIdOf(name: string): number {
  return Number.parseInt(createHash("sha256").update(`upstream ${name}`).digest("hex").slice(0, 12), 16) + 1;
}

function describeUpstream({ metadata: { name }, spec }: Following): FollowedUpstream {
  const { url, urlKey } = spec.upstream;
  return { id: upstreamIdOf(name), label: name, url: url ?? `(urlKey ${urlKey})` };
}

/** Where `--url` is the root of a server, as CoreUpdate had it, it answers checks at the usual path. */
function checksAt(url: string): string {
  return /^https?:\/\/[^/]+\/?$/.test(url) ? `${url.replace(/\/$/, "")}/v1/update/` : url;
}

/** Rights come before it is told what there is; of a Channel that is not there they are those to all. */
async function nameFor(
  desk: Desk,
  id: string,
  demand: (one: { resource: typeof channelKind; name?: string }) => Promise<void>,
): Promise<string> {
  const found = followingIn(desk.catalogue()).find(
    ({ metadata }) => String(upstreamIdOf(metadata.name)) === id,
  );
  const name = found?.metadata.name;
  await demand({ resource: channelKind, ...(name === undefined ? {} : { name }) });
  if (name === undefined)
    throw new Problem(404, `There is no upstream ${id}: updateservicectl upstream list.`);
  return name;
}

async function liveOf(desk: Desk, name: string): Promise<Following> {
  const live = followed(await desk.live<Channel>(channelKind, name));
  if (live === undefined) throw new Problem(404, `Channel ${name} has no upstream any more.`);
  return live;
}
