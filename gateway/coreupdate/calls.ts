/** The calls of CoreUpdate's API, by the ids of its discovery document: what each asks RBAC, reads and writes. */
import { type Channel, channel as channelKind } from "../../api/channel.ts";
import { type Release, release as releaseKind } from "../../api/release.ts";
import { updateGroup as groupKind, type UpdateGroup } from "../../api/update-group.ts";
import type { Person } from "../../runtime/access.ts";
import { bareId } from "../omaha/request.ts";
import {
  appOf,
  appsOf,
  type Catalogue,
  channelOf,
  channelsOf,
  describeGroup,
  groupOf,
  groupsOf,
  isPublished,
  packageOf,
  packagesOf,
  releaseOf,
  rememberedFrames,
} from "./catalogue.ts";
import {
  activatedGroup,
  type Change,
  movedChannel,
  newChannel,
  newGroup,
  newPackage,
  patchedGroup,
  percentGroup,
  rolledGroup,
} from "./change.ts";
import type { Desk } from "./desk.ts";
import { Problem } from "./problem.ts";
import { rolloutOf } from "./rollout.ts";
import {
  ActiveBody,
  AppBody,
  type AppChannel,
  ChannelBody,
  type Group,
  GroupBody,
  type Package,
  PackageBody,
  PercentBody,
  parseBody,
  RolloutBody,
} from "./wire.ts";

/** A call that somebody signed in for. */
export interface Call {
  person: Person;
  /** Parts of the path, decoded. */
  at: readonly string[];
  query: URLSearchParams;
  body: Buffer;
}

export type Answer = (desk: Desk, call: Call) => Promise<unknown>;

/** Packages of a page; the CLI asks for all. */
const MAX_PACKAGES = 10_000;

export const listApps: Answer = async (desk, { person }) => {
  await desk.demandList(person, "releases");
  return { items: appsOf(await desk.named()) };
};

export const getApp: Answer = async (desk, { person, at: [app = ""] }) => {
  await desk.demandList(person, "releases");
  return appOf(await desk.named(), app);
};

/** An application is no object: whoever may make its Releases may say what it is called. */
export const putApp: Answer = async (desk, { person, at: [named], body }) => {
  await desk.demand({ person, verb: "create", resource: releaseKind });
  const { id, label, description } = parseBody(AppBody, body);
  const { random, service } = desk.options;
  const appId = bareId(named ?? id) || random.uuid();
  if (named !== undefined) appOf(await desk.named(), named);
  if (!(await service.putApp(appId, { label, description }))) {
    throw new Problem(409, "There are names for 500 applications, the most that are kept.");
  }
  return { id: appId, label, description };
};

export const deleteApp: Answer = async (desk, { person, at: [sent = ""] }) => {
  await desk.demand({ person, verb: "delete", resource: releaseKind });
  const catalogue = await desk.named();
  const app = appOf(catalogue, sent);
  const parts = [packagesOf(catalogue, app.id), channelsOf(catalogue, app.id), groupsOf(catalogue, app.id)];
  const [packages = 0, channels = 0, groups = 0] = parts.map((list) => list.length);
  if (packages + channels + groups > 0) {
    throw new Problem(
      409,
      `${app.id} has ${packages} packages, ${channels} channels and ${groups} groups: delete these first.`,
    );
  }
  await desk.options.service.deleteApp(app.id);
  return app;
};

export const listPackages: Answer = async (desk, { person, at: [sent = ""], query }) => {
  await desk.demandList(person, "releases");
  const catalogue = await desk.named();
  const version = query.get("version") ?? "";
  const all = packagesOf(catalogue, appOf(catalogue, sent).id).filter(
    (one) => version === "" || one.version === version,
  );
  const skip = Math.max(0, Number(query.get("skip") ?? 0) || 0);
  const limit = Math.min(MAX_PACKAGES, Number(query.get("limit") ?? 0) || MAX_PACKAGES);
  return { items: all.slice(skip, skip + limit), total: all.length };
};

export const createPackage: Answer = async (desk, { person, at: [sent = "", version = ""], body }) => {
  await desk.demand({ person, verb: "create", resource: releaseKind });
  const catalogue = desk.catalogue();
  const appId = bareId(sent);
  const made = newPackage(catalogue, appId, version, parseBody(PackageBody, body));
  const stored =
    made === undefined ? releaseOf(catalogue, appId, version) : await desk.make<Release>(person, [made]);
  return stored && packageOf(stored);
};

export const deletePackage: Answer = async (desk, { person, at: [sent = "", version = ""] }) => {
  await desk.demand({ person, verb: "delete", resource: releaseKind });
  const catalogue = desk.catalogue();
  const release = releaseOf(catalogue, bareId(sent), version);
  const gone: Package | undefined = release && packageOf(release);
  if (release === undefined || gone === undefined) {
    throw new Problem(404, `There is no package ${version} of application ${sent}.`);
  }
  const { name } = release.metadata;
  const users = [
    ...catalogue.channels.filter(({ spec }) => releasesOf(spec).includes(name)),
    ...catalogue.groups.filter(({ spec }) => spec.release === name),
  ].map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  if (users.length > 0)
    throw new Problem(409, `${users.join(", ")} needs version ${version}: move it first.`);
  await desk.remove(person, releaseKind, name);
  return gone;
};

function releasesOf({ release, architectures = [] }: Channel["spec"]): string[] {
  return [...(release === undefined ? [] : [release]), ...architectures.map((one) => one.release)];
}

export const listChannels: Answer = async (desk, { person, at: [sent = ""] }) => {
  await desk.demandList(person, "channels", "releases");
  const catalogue = await desk.named();
  return { items: channelsOf(catalogue, appOf(catalogue, sent).id) };
};

/** The CLI puts the channel's label where the application's id belongs, and the id into the body. */
export const createChannel: Answer = async (desk, { person, at: [sent = ""], body }) => {
  await desk.demand({ person, verb: "create", resource: channelKind });
  const asked = parseBody(ChannelBody, body);
  const catalogue = await desk.named();
  const { id } = appOf(catalogue, asked.appId === "" ? sent : asked.appId);
  const stored = await desk.make<Channel>(person, newChannel(catalogue, id, asked));
  return stored && channelOf(catalogue, stored);
};

export const updateChannel: Answer = async (desk, { person, at: [sent = "", label = ""], body }) => {
  await desk.demand({ person, verb: "patch", resource: channelKind, name: label });
  const catalogue = await desk.named();
  const { id } = appOf(catalogue, sent);
  const asked = parseBody(ChannelBody, body);
  const live = await desk.live<Channel>(channelKind, channelNamed(catalogue, id, label).metadata.name);
  const changes = movedChannel(catalogue, id, live, asked);
  return channelOf(catalogue, await desk.change(person, live, changes));
};

export const deleteChannel: Answer = async (desk, { person, at: [sent = "", label = ""] }) => {
  await desk.demand({ person, verb: "delete", resource: channelKind, name: label });
  const catalogue = await desk.named();
  const { id } = appOf(catalogue, sent);
  const gone: AppChannel = channelOf(catalogue, channelNamed(catalogue, id, label));
  const followers = catalogue.groups.filter(({ spec }) => spec.channel === label);
  if (followers.length > 0) {
    const names = followers.map(({ metadata }) => metadata.name).join(", ");
    throw new Problem(409, `Groups follow channel ${label}: ${names}.`);
  }
  await desk.remove(person, channelKind, label);
  return gone;
};

function channelNamed(catalogue: Catalogue, appId: string, label: string): Channel {
  const known = channelsOf(catalogue, appId).some((one) => one.label === label);
  const channel = known ? catalogue.channels.find(({ metadata }) => metadata.name === label) : undefined;
  if (channel === undefined) throw new Problem(404, `There is no channel ${label} of application ${appId}.`);
  return channel;
}

/** Channels that a person published, and their packages: for whoever asks, without signing in. */
export const publicChannels = async (desk: Desk): Promise<unknown> => {
  const catalogue = desk.catalogue();
  return { items: catalogue.channels.filter(isPublished).map((channel) => channelOf(catalogue, channel)) };
};

export const publicPackages = async (desk: Desk): Promise<unknown> => {
  const catalogue = desk.catalogue();
  const published = new Set(catalogue.channels.filter(isPublished).flatMap(({ spec }) => releasesOf(spec)));
  const packages = catalogue.releases
    .filter(({ metadata }) => published.has(metadata.name))
    .flatMap((release) => packageOf(release) ?? []);
  const apps = [...new Set(packages.map(({ appId }) => appId))].toSorted();
  return {
    items: apps.map((AppId) => ({ AppId, packages: packages.filter(({ appId }) => appId === AppId) })),
  };
};

export const listGroups: Answer = async (desk, { person, at: [sent = ""] }) => {
  await desk.demandList(person, "groups", "channels");
  const catalogue = await desk.named();
  return { items: groupsOf(catalogue, appOf(catalogue, sent).id) };
};

export const getGroup: Answer = async (desk, call) => {
  await desk.demandList(call.person, "groups", "channels");
  return describe(await groupIn(desk, call));
};

export const createGroup: Answer = async (desk, { person, at: [sent = ""], body }) => {
  await desk.demand({ person, verb: "create", resource: groupKind });
  const catalogue = await desk.named();
  const { id } = appOf(catalogue, sent);
  const stored = await desk.make<UpdateGroup>(person, newGroup(catalogue, id, parseBody(GroupBody, body)));
  return stored && describe({ group: stored, appId: id });
};

export const updateGroup: Answer = async (desk, call) => {
  const found = await groupFor(desk, call, "patch");
  const { catalogue, appId, group } = found;
  return await changed(
    desk,
    call,
    found,
    patchedGroup(catalogue, appId, group, parseBody(GroupBody, call.body)),
  );
};

export const deleteGroup: Answer = async (desk, call) => {
  const found = await groupFor(desk, call, "delete");
  await desk.remove(call.person, groupKind, found.group.metadata.name);
  return describe(found);
};

export const setPercent: Answer = async (desk, call) => {
  const found = await groupFor(desk, call, "patch");
  const { updatePercent } = parseBody(PercentBody, call.body);
  return await changed(desk, call, found, percentGroup(found.group, updatePercent));
};

export const getRollout: Answer = async (desk, call) => {
  await desk.demandList(call.person, "groups");
  return describeRollout(await groupIn(desk, call));
};

export const setRollout: Answer = async (desk, call) => {
  const found = await groupFor(desk, call, "patch");
  const { rollout, Rollout } = parseBody(RolloutBody, call.body);
  await changed(desk, call, found, rolledGroup(found.group, rollout ?? Rollout?.rollout ?? []));
  return describeRollout(await groupIn(desk, call));
};

export const getActive: Answer = async (desk, call) => {
  await desk.demandList(call.person, "groups");
  return describeActive(await groupIn(desk, call));
};

export const setActive: Answer = async (desk, call) => {
  const found = await groupFor(desk, call, "patch");
  await changed(desk, call, found, activatedGroup(found.group, parseBody(ActiveBody, call.body).active));
  return describeActive(await groupIn(desk, call));
};

interface Found {
  catalogue: Catalogue;
  appId: string;
  group: UpdateGroup;
}

async function groupIn(desk: Desk, { at: [app = "", id = ""] }: Call): Promise<Found> {
  const catalogue = desk.catalogue();
  return { catalogue, appId: bareId(app), group: groupOf(catalogue, app, id) };
}

/** To write: the group as it is now. Rights come first, or an answer would tell what there is. */
async function groupFor(desk: Desk, call: Call, verb: "patch" | "delete"): Promise<Found> {
  await desk.demand({ person: call.person, verb, resource: groupKind, name: call.at[1] ?? "" });
  const found = await groupIn(desk, call);
  return { ...found, group: await desk.live<UpdateGroup>(groupKind, found.group.metadata.name) };
}

async function changed(
  desk: Desk,
  { person }: Call,
  { group, appId }: Found,
  changes: readonly Change[],
): Promise<Group> {
  return describe({ appId, group: await desk.change(person, group, changes) });
}

function describe({ group, appId }: Pick<Found, "group" | "appId">): Group {
  return describeGroup(group, appId);
}

function describeRollout({ group, appId }: Found): unknown {
  const { frames } = rolloutOf(group, rememberedFrames(group));
  const rollout = frames.map(({ duration, percent }) => ({ duration: String(duration), percent }));
  return { appId, groupId: group.metadata.name, rollout };
}

function describeActive({ group, appId }: Found): unknown {
  return { appId, groupId: group.metadata.name, active: describe({ group, appId }).rolloutActive };
}
