/** Calls of CoreUpdate's API about machines and users, and those that are answered with what to do instead. */
import { uidOf } from "../../coordination/identity.ts";
import { SPANS } from "../../coordination/request-counts.ts";
import { bareId } from "../omaha/request.ts";
import type { Answer } from "./calls.ts";
import { groupOf } from "./catalogue.ts";
import type { Desk } from "./desk.ts";
import { type Counted, filterOf, historyOf, instancesOf, rollupOf, versionsOf } from "./instance.ts";
import { Problem } from "./problem.ts";
import type { User } from "./users.ts";

export const listInstances: Answer = async (desk, { person, query }) => {
  await desk.demandList(person, "nodes");
  const filter = filterOf(query);
  const all = instancesOf(desk.catalogue(), desk.seen(), filter);
  return { items: all.slice(filter.skip, filter.skip + filter.limit) };
};

export const countInstances: Answer = async (desk, { person, query }) => {
  await desk.demandList(person, "nodes");
  return { count: instancesOf(desk.catalogue(), desk.seen(), filterOf(query)).length };
};

export const listVersions: Answer = async (desk, { person, query }) => {
  await desk.demandList(person, "nodes");
  return { items: versionsOf(instancesOf(desk.catalogue(), desk.seen(), filterOf(query))) };
};

export const getHistory: Answer = async (desk, { person, query }) => {
  await desk.demandList(person, "nodes");
  const clientId = query.get("clientId") ?? "";
  // The view has not the events of each.
  const machine = await desk.options.coordination.readForeignMachine(uidOf(bareId(clientId)));
  return { items: historyOf(desk.seen(), machine, clientId) };
};

const RESOLUTIONS = { 60: "minutes", 3600: "hours", 86400: "hours" } as const;

export const rollup =
  (kind: "versions" | "events"): Answer =>
  async (desk, { person, at: [app = "", id = "", start = "0", end = "0"], query }) => {
    await desk.demandList(person, "nodes", "groups");
    const group = groupOf(desk.catalogue(), app, id).metadata.name;
    const [from, to, resolution] = [start, end, query.get("resolution") ?? "60"].map(Number) as [
      number,
      number,
      number,
    ];
    if (
      ![from, to].every((second) => Number.isSafeInteger(second) && second >= 0) ||
      !isResolution(resolution)
    ) {
      throw new Problem(400, "Start and end are seconds since 1970, the resolution is 60, 3600 or 86400.");
    }
    const counted = await countedOf(desk, RESOLUTIONS[resolution], group);
    const versions = (query.get("versions") ?? "").split(",").filter((version) => version !== "");
    return { items: rollupOf(kind, counted, { start: from, end: to, resolution, versions }) };
  };

function isResolution(seconds: number): seconds is keyof typeof RESOLUTIONS {
  return seconds in RESOLUTIONS;
}

async function countedOf(desk: Desk, span: "minutes" | "hours", group: string): Promise<Counted> {
  const records = await desk.options.service.counts.read(span, group);
  return records.flatMap(({ start, record }) =>
    Object.entries(record.parts).map(([part, counts]) => ({
      at: start + Number(part) * SPANS[span].part,
      ...counts,
    })),
  );
}

export const makeUuid: Answer = async (desk) => ({ uuid: desk.options.random.uuid() });

export const listUsers =
  (users: () => ReadonlyMap<string, User>): Answer =>
  async (desk, { person }) => {
    await desk.demandList(person, "groups");
    return { users: [...users().keys()].toSorted().map((user) => ({ user })) };
  };

export const getUser =
  (users: () => ReadonlyMap<string, User>): Answer =>
  async (desk, { person, at: [name = ""] }) => {
    await desk.demandList(person, "groups");
    if (!users().has(name)) throw new Problem(404, `There is no user ${name}.`);
    return { user: name };
  };

/** A call that is never done, and what to do instead. */
export const refuse =
  (status: 409 | 501, message: string): Answer =>
  () =>
    Promise.reject(new Problem(status, message));

export const USERS_ARE_A_SECRET =
  "Users and their keys are lines of a Secret, which the gateway only reads, because who can write it can act as anybody: kubectl edit secret (docs/coreupdate.md).";
export const NO_UPSTREAM =
  "An upstream belongs to a Channel, and needs its product and track, which this call does not say: kubectl apply a Channel with spec.upstream {url, product, track} (docs/payloads.md).";
export const NO_UPLOAD =
  "Files are not uploaded here (gateway.machines.payloads.uploads of the chart): put them on any web server, and name it by --url or --base-url.";
export const NO_DATABASE =
  "There is no database to set up: users are lines of a Secret (docs/coreupdate.md).";
