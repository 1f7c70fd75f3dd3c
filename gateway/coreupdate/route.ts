/**
 * CoreUpdate's API over HTTP, as updateservicectl speaks it: JSON at `/_ah/api/update/v1/`, signed by Hawk. The CLI has
 * three more paths, for a database and for uploads: a backup is served, and files are taken where that is asked for.
 */
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { type EdgeAnswer, type EdgeRequest, plain, type Route } from "../edge/server.ts";
import { Nonces } from "../hawk/nonces.ts";
import {
  type HawkRequest,
  MAX_SKEW,
  type Refused,
  refuseNonce,
  type Verified,
  verify,
} from "../hawk/verify.ts";
import { backup } from "./backup.ts";
import * as calls from "./calls.ts";
import { Desk, type DeskOptions } from "./desk.ts";
import * as looks from "./looks.ts";
import { JSON_TYPE, json, Problem, problemAnswer } from "./problem.ts";
import type { Uploads } from "./upload.ts";
import * as upstreams from "./upstream.ts";
import type { User } from "./users.ts";

const API = "/_ah/api/update/v1";
/** A rollout of a day in frames of a minute has 65 KiB, release notes at most as much. */
const MAX_BODY = 256 * 1024;

export interface CoreUpdateOptions extends DeskOptions {
  users: () => ReadonlyMap<string, User>;
  /** `call` is its id in the discovery document. */
  meter: (call: string, status: number) => void;
  /** Where files are put; none are taken where it is absent. */
  uploads?: Uploads;
}

interface Known {
  id: string;
  methods: readonly string[];
  path: RegExp;
  answer: calls.Answer;
}

/** POST and PUT, PATCH and PUT: clients of before 2015 send the latter. */
const [READ, MAKE, CHANGE, DELETE] = [["GET"], ["POST", "PUT"], ["PATCH", "PUT"], ["DELETE"]];

function known(id: string, methods: readonly string[], pattern: string, answer: calls.Answer): Known {
  const path = new RegExp(`^${API}/${pattern.replaceAll(/\{\w+\}/g, "([^/]+)")}/?$`);
  return { id, methods, path, answer };
}

function table(users: CoreUpdateOptions["users"]): Known[] {
  const secret = looks.refuse(409, looks.USERS_ARE_A_SECRET);
  const group = "apps/{appId}/groups/{id}";
  return [
    known("admin.listUsers", READ, "admin/user", looks.listUsers(users)),
    known("admin.createUser", MAKE, "admin/user", secret),
    known("admin.getUser", READ, "admin/user/{userName}", looks.getUser(users)),
    known("admin.deleteUser", DELETE, "admin/user/{userName}", secret),
    known("admin.genToken", ["PUT", "POST"], "admin/user/{userName}/token/new", secret),
    known("app.list", READ, "apps", calls.listApps),
    known("app.insert", MAKE, "apps", calls.putApp),
    known("app.get", READ, "apps/{id}", calls.getApp),
    known("app.update", CHANGE, "apps/{id}", calls.putApp),
    known("app.delete", DELETE, "apps/{id}", calls.deleteApp),
    known("app.package.list", READ, "apps/{appId}/packages", calls.listPackages),
    known("app.package.insert", MAKE, "apps/{appId}/packages/{version}", calls.createPackage),
    known("app.package.delete", DELETE, "apps/{appId}/packages/{version}", calls.deletePackage),
    known("channel.list", READ, "apps/{appId}/channels", calls.listChannels),
    known("channel.insert", MAKE, "apps/{appId}/channels", calls.createChannel),
    known("channel.update", CHANGE, "apps/{appId}/channels/{label}", calls.updateChannel),
    known("channel.delete", DELETE, "apps/{appId}/channels/{label}", calls.deleteChannel),
    known("group.list", READ, "apps/{appId}/groups", calls.listGroups),
    known("group.insert", MAKE, "apps/{appId}/groups", calls.createGroup),
    known("group.get", READ, group, calls.getGroup),
    known("group.update", CHANGE, group, calls.updateGroup),
    known("group.delete", DELETE, group, calls.deleteGroup),
    known("group.percent.set", ["POST"], group, calls.setPercent),
    known("group.rollout.get", READ, `${group}/rollout`, calls.getRollout),
    known("group.rollout.set", MAKE, `${group}/rollout`, calls.setRollout),
    known("group.rollout.active.get", READ, `${group}/rollout/active`, calls.getActive),
    known("group.rollout.active.set", MAKE, `${group}/rollout/active`, calls.setActive),
    ...(["versions", "events"] as const).map((kind) =>
      known(
        `group.requests.${kind}.rollup`,
        READ,
        `${group}/requests/${kind}/{start}/{end}`,
        looks.rollup(kind),
      ),
    ),
    known("clientupdate.list", READ, "clientupdates", looks.listInstances),
    known("clientupdate.count", READ, "clientupdatecount", looks.countInstances),
    known("appversion.list", READ, "appversions", looks.listVersions),
    known("client.history", READ, "client/history", looks.getHistory),
    known("upstream.list", READ, "upstream", upstreams.listUpstreams),
    known("upstream.sync", ["POST"], "upstream/sync", upstreams.syncUpstreams),
    known("upstream.insert", MAKE, "upstream", looks.refuse(501, looks.NO_UPSTREAM)),
    known("upstream.update", CHANGE, "upstream/{id}", upstreams.updateUpstream),
    known("upstream.delete", DELETE, "upstream/{id}", upstreams.deleteUpstream),
    known("util.uuid", READ, "util/uuid", looks.makeUuid),
  ];
}

/** The routes of a listener. */
export function coreUpdateRoutes(options: CoreUpdateOptions): Route[] {
  const service = new CoreUpdate(options);
  const route = (prefix: string, answer: Route["answer"], maxBody = MAX_BODY): Route => ({
    ...{ prefix, maxBody, answer },
  });
  return [
    route(API, (request) => service.api(request)),
    route("/db/backup", (request) => service.backup(request), 0),
    // The client prints what it gets, and takes `ok` for success.
    route("/admin/v1/init", () => Promise.resolve(plain(501, looks.NO_DATABASE)), 0),
    options.uploads === undefined
      ? route("/package-upload", () => Promise.resolve(plain(501, looks.NO_UPLOAD)), 0)
      : { ...route("/package-upload", (request) => service.upload(request), 0), streams: true },
  ];
}

class CoreUpdate {
  readonly #options: CoreUpdateOptions;
  readonly #desk: Desk;
  readonly #table: readonly Known[];
  readonly #nonces = new Nonces();

  constructor(options: CoreUpdateOptions) {
    this.#options = options;
    this.#desk = new Desk(options);
    this.#table = table(options.users);
  }

  async api(request: EdgeRequest): Promise<EdgeAnswer> {
    const open = OPEN[request.path.slice(API.length).replace(/\/$/, "")];
    if (open !== undefined && request.method === "GET") {
      return this.#told("public", await this.#answer(async () => json(await open(this.#desk))));
    }
    const fitting = this.#table.filter(({ path }) => path.test(request.path));
    const call = fitting.find(({ methods }) => methods.includes(request.method));
    const answer = await this.#signedIn(request, async ({ person }) => {
      if (fitting.length === 0) throw new Problem(404, "CoreUpdate's API has no such path.");
      if (call === undefined) throw new Problem(400, `${request.method} is no method of this path.`);
      const at = (call.path.exec(request.path) ?? []).slice(1).map(decoded);
      return json(await call.answer(this.#desk, { person, at, query: request.query, body: request.body }));
    });
    return this.#told(call?.id ?? "other", answer);
  }

  async upload(request: EdgeRequest): Promise<EdgeAnswer> {
    const { uploads } = this.#options;
    const answer = await this.#signedIn(request, async ({ person }) => {
      if (uploads === undefined) throw new Problem(501, looks.NO_UPLOAD);
      return json(await uploads.take(this.#desk, person, request));
    });
    return this.#told("package.upload", answer);
  }

  async backup(request: EdgeRequest): Promise<EdgeAnswer> {
    if (request.method !== "GET") return plain(405, "GET is the method of this path.\n");
    const answer = await this.#signedIn(request, async ({ person }) =>
      json(await backup(this.#desk, person)),
    );
    return this.#told("backup", answer);
  }

  /** With the user's answer signed; a refusal of Hawk's is not: who asked is not known. */
  async #signedIn(request: EdgeRequest, work: (user: User) => Promise<EdgeAnswer>): Promise<EdgeAnswer> {
    const { users, clock } = this.#options;
    const hawk = verify(hawkRequest(request), (id) => users().get(id), clock.now());
    if (hawk.outcome === "refused") return unauthorized(hawk);
    const user = users().get(hawk.id);
    if (user === undefined) return unauthorized({ ...NOBODY });
    const answer = await this.#answer(async () => {
      const refused = refuseNonce(await this.#spend(hawk, request.method !== "GET"));
      if (refused === "later") throw new Problem(503, "Too many requests: ask again in a minute.");
      return refused === undefined ? await work(user) : unauthorized(refused);
    });
    return {
      ...answer,
      headers: { ...answer.headers, "server-authorization": hawk.sign(JSON_TYPE, answer.body) },
    };
  }

  /** A read may be made once at each gateway, what changes something once at all of them. */
  async #spend({ nonce, until }: Verified, writes: boolean): Promise<ReturnType<Nonces["spend"]>> {
    const { clock, service } = this.#options;
    const here = this.#nonces.spend(nonce, until, clock.now());
    if (here !== "fresh" || !writes) return here;
    return (await service.spendNonce(nonce, 2 * MAX_SKEW + 1)) ? "fresh" : "replayed";
  }

  async #answer(work: () => Promise<EdgeAnswer>): Promise<EdgeAnswer> {
    try {
      return await work();
    } catch (error) {
      const known =
        error instanceof EtcdUnavailable
          ? new Problem(503, "etcd gives no answer: nothing was done, or it is not known; look again.")
          : error;
      const answer = problemAnswer(known);
      if (answer === undefined) throw error;
      return answer;
    }
  }

  #told(call: string, answer: EdgeAnswer): EdgeAnswer {
    this.#options.meter(call, answer.status);
    return answer;
  }
}

const OPEN: Readonly<Record<string, (desk: Desk) => Promise<unknown>>> = {
  "/public/packages": calls.publicPackages,
  "/public/channels": calls.publicChannels,
};

const NOBODY: Refused = { outcome: "refused", message: "The user is gone.", challenge: "Hawk" };

function unauthorized({ message, challenge }: Refused): EdgeAnswer {
  const answer = problemAnswer(new Problem(401, message)) ?? json({}, 401);
  return { ...answer, headers: { "www-authenticate": challenge } };
}

function hawkRequest(request: EdgeRequest): HawkRequest {
  const { method, path, search, body } = request;
  const header = (name: string): string | undefined => request.header(name);
  return {
    ...{ method, body, target: search === "" ? path : `${path}?${search}` },
    ...{ host: header("host") ?? "", contentType: header("content-type") ?? "" },
    authorization: header("authorization"),
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Problem(400, "The path has half an escape.");
  }
}
