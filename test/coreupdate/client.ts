/**
 * updateservicectl as a server sees it: each verb makes the calls that the Go program makes, signs them as the library
 * tent/hawk-go does (the body is not hashed), leaves out what is false, 0 or empty, and reads the answers as Go does.
 * For tests: the program itself is not to be had here.
 */
import { createHash, createHmac, randomBytes } from "node:crypto";
import { type ClientRequest, type OutgoingHttpHeaders, request } from "node:http";
import * as z from "zod";
import * as wire from "./wire.ts";

const BASE = "/_ah/api/update/v1/";

export interface Credentials {
  user: string;
  key: string;
}

export interface Answer {
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
}

export interface Sent {
  method: string;
  target: string;
  body?: unknown;
  authorization: string;
}

/** As googleapi.Error prints it. */
export class CallError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface ClientOptions extends Credentials {
  port: number;
  /** Seconds since 1970. */
  now: () => number;
  /** Puts the whole URL into the request line, as clients of before 2016 do. */
  wholeUrl?: boolean;
}

export class UpdateServiceClient {
  readonly #options: ClientOptions;
  /** The last request, for tests that make it again. */
  last: Sent | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  get host(): string {
    return `localhost:${this.#options.port}`;
  }

  /** hawk.1.header over what is sent; hawk-go's `RequestHeader`. */
  header(method: string, target: string): string {
    const { user, key, now, port } = this.#options;
    const nonce = randomBytes(8).toString("base64").slice(0, 8);
    const ts = now();
    const text = `hawk.1.header\n${ts}\n${nonce}\n${method}\n${target}\nlocalhost\n${port}\n\n\n`;
    const mac = createHmac("sha256", key).update(text).digest("base64");
    return `Hawk id="${user}", mac="${mac}", ts="${ts}", nonce="${nonce}"`;
  }

  send({ method, target, body, authorization }: Sent): Promise<Answer> {
    const text = body === undefined ? undefined : `${JSON.stringify(body)}\n`;
    const headers = {
      ...{ authorization, "user-agent": "google-api-go-client/0.5" },
      ...(text === undefined
        ? {}
        : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
    };
    return this.#ask(method, target, headers, (sent) => sent.end(text));
  }

  #ask(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    write: (sent: ClientRequest) => void,
  ): Promise<Answer> {
    const { port } = this.#options;
    const to = { host: "127.0.0.1", port, method, path, headers: { host: this.host, ...headers } };
    return new Promise((resolve, reject) => {
      const sent = request(to, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const { statusCode = 0, headers: told } = response;
          resolve({ status: statusCode, headers: told, body: Buffer.concat(chunks).toString() });
        });
      });
      sent.on("error", reject);
      write(sent);
    });
  }

  /** A call; its answer's signature is checked, too. Throws `CallError`. */
  async call<S extends z.ZodType>(
    schema: S,
    method: string,
    path: string,
    { query = {}, body }: { query?: Record<string, string>; body?: unknown } = {},
  ): Promise<z.output<S>> {
    const search = new URLSearchParams({ ...query, alt: "json" });
    search.sort();
    const target = `${this.#options.wholeUrl ? `http://${this.host}` : ""}${BASE}${path}?${search.toString()}`;
    const authorization = this.header(method, target);
    const sent = { method, target, authorization, ...(body === undefined ? {} : { body: omitEmpty(body) }) };
    this.last = sent;
    const answer = await this.send(sent);
    if (answer.status < 200 || answer.status > 299) {
      const parsed = wire.ErrorReply.safeParse(tryJson(answer.body));
      throw new CallError(answer.status, parsed.success ? parsed.data.error.message : answer.body);
    }
    this.checkAnswer(sent, answer);
    return schema.parse(JSON.parse(answer.body));
  }

  /** Throws where the header Server-Authorization is not the server's. */
  checkAnswer({ method, target, authorization }: Sent, answer: Answer): void {
    const { key, port } = this.#options;
    const given = String(answer.headers["server-authorization"] ?? "");
    const [, mac = "", hash = ""] = /^Hawk mac="([^"]+)", hash="([^"]+)"$/.exec(given) ?? [];
    const [, ts = "", nonce = ""] = /ts="(\d+)", nonce="([^"]+)"/.exec(authorization) ?? [];
    const type = String(answer.headers["content-type"]).split(";", 1)[0] ?? "";
    const payload = createHash("sha256").update(`hawk.1.payload\n${type}\n${answer.body}\n`).digest("base64");
    const text = `hawk.1.response\n${ts}\n${nonce}\n${method}\n${target}\nlocalhost\n${port}\n${payload}\n\n`;
    const expected = createHmac("sha256", key).update(text).digest("base64");
    if (payload !== hash || mac !== expected) throw new Error(`the answer is not signed: ${given}`);
  }

  async get(path: string): Promise<Answer> {
    return await this.send({ method: "GET", target: path, authorization: this.header("GET", path) });
  }

  // The verbs of the CLI.

  appList = () => this.call(wire.AppListResp, "GET", "apps");
  appCreate = (id: string, label: string, description: string) =>
    this.call(wire.App, "POST", "apps", { body: { id, label, description } });
  appUpdate = (id: string, label: string, description: string) =>
    this.call(wire.App, "PATCH", `apps/${id}`, { body: { label, description } });
  appDelete = (id: string) => this.call(wire.App, "DELETE", `apps/${id}`);

  packageList = (app: string, query: Record<string, string> = {}) =>
    this.call(wire.PackageList, "GET", `apps/${app}/packages`, { query });
  packageCreate = (app: string, version: string, pkg: object) =>
    this.call(wire.Package, "POST", `apps/${app}/packages/${encodeURIComponent(version)}`, { body: pkg });
  packageDelete = (app: string, version: string) =>
    this.call(wire.Package, "DELETE", `apps/${app}/packages/${encodeURIComponent(version)}`);

  channelList = (app: string) => this.call(wire.ChannelListResp, "GET", `apps/${app}/channels`);
  /** As the CLI does it: `service.Channel.Insert(channel, …)`, where the application's id belongs. */
  channelCreate = (app: string, label: string, version: string, publish = false) =>
    this.call(wire.AppChannel, "POST", `apps/${encodeURIComponent(label)}/channels`, {
      body: { version, publish, label, appId: app },
    });
  channelUpdate = (app: string, label: string, version: string, publish = false) =>
    this.call(wire.AppChannel, "PATCH", `apps/${app}/channels/${label}`, { body: { version, publish } });
  channelDelete = (app: string, label: string) =>
    this.call(wire.ChannelRequest, "DELETE", `apps/${app}/channels/${label}`);

  groupList = (app: string) => this.call(wire.GroupList, "GET", `apps/${app}/groups`);
  groupCreate = (app: string, channelId: string, id: string, label: string) =>
    this.call(wire.Group, "POST", `apps/${app}/groups`, { body: { channelId, id, label } });
  groupDelete = (app: string, id: string) => this.call(wire.Group, "DELETE", `apps/${app}/groups/${id}`);
  /** Reads the group, changes it, and sends all of it back. */
  async groupChange(app: string, id: string, change: Partial<wire.Group> & object): Promise<wire.Group> {
    const group = await this.call(wire.Group, "GET", `apps/${app}/groups/${id}`);
    return await this.call(wire.Group, "PATCH", `apps/${app}/groups/${id}`, {
      body: { ...group, ...change },
    });
  }
  groupPause = (app: string, id: string) => this.groupChange(app, id, { updatesPaused: true });
  groupUnpause = (app: string, id: string) => this.groupChange(app, id, { updatesPaused: false });
  groupExclude = (app: string, id: string, oemBlacklist: string) =>
    this.groupChange(app, id, { oemBlacklist });
  groupPercent = (app: string, id: string, updatePercent: number) =>
    this.call(wire.GroupPercent, "POST", `apps/${app}/groups/${id}`, { body: { updatePercent } });
  groupRollup = (kind: "versions" | "events", app: string, id: string, start = 0, end = 0, resolution = 60) =>
    this.call(wire.GroupRequestsRollup, "GET", `apps/${app}/groups/${id}/requests/${kind}/${start}/${end}`, {
      query: { resolution: String(resolution) },
    });

  rolloutGet = (app: string, id: string) =>
    this.call(wire.Rollout, "GET", `apps/${app}/groups/${id}/rollout`);
  rolloutLinear = (appId: string, groupId: string, duration: number, frameSize: number) =>
    this.call(wire.Rollout, "POST", `apps/${appId}/groups/${groupId}/rollout`, {
      body: { appId, groupId, rollout: linear(duration, frameSize) },
    });
  rolloutActive = (app: string, id: string, active: boolean) =>
    this.call(wire.RolloutActive, "POST", `apps/${app}/groups/${id}/rollout/active`, { body: { active } });

  instanceListUpdates = (query: Record<string, string> = {}) =>
    this.call(wire.ClientUpdateList, "GET", "clientupdates", {
      query: { dateStart: "0", dateEnd: "0", ...query },
    });
  instanceListAppVersions = (query: Record<string, string> = {}) =>
    this.call(wire.AppVersionList, "GET", "appversions", { query });

  adminUserList = () => this.call(wire.AdminListUsersResp, "GET", "admin/user");
  adminUserCreate = (userName: string) =>
    this.call(wire.AdminUser, "POST", "admin/user", { body: { userName } });
  adminUserDelete = (name: string) =>
    this.call(wire.AdminUser, "DELETE", `admin/user/${encodeURIComponent(name)}`);

  /** A form with one file, in chunks, as Go's multipart.Writer and http.Client make it of a pipe. */
  packageUpload(name: string, content: Buffer): Promise<Answer> {
    const boundary = randomBytes(30).toString("hex");
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
    const headers = {
      authorization: this.header("POST", "/package-upload"),
      "content-type": `multipart/form-data; boundary=${boundary}`,
    };
    return this.#ask("POST", "/package-upload", headers, (sent) => {
      sent.write(head);
      for (let at = 0; at < content.length; at += 32_768) sent.write(content.subarray(at, at + 32_768));
      sent.end(`\r\n--${boundary}--\r\n`);
    });
  }

  upstreamList = () => this.call(wire.UpstreamListResp, "GET", "upstream");
  upstreamCreate = (url: string) => this.call(wire.Upstream, "POST", "upstream", { body: { url } });
  upstreamUpdate = (id: number, url: string, label = "") =>
    this.call(wire.Upstream, "PUT", `upstream/${id}`, { body: { id, url, label } });
  upstreamDelete = (id: number) => this.call(wire.Upstream, "DELETE", `upstream/${id}`);
  upstreamSync = () => this.call(wire.UpstreamSyncResp, "POST", "upstream/sync");
}

/** Its `generateLinear`: frames up to 100 %, and one of no time that says so. */
export function linear(duration: number, frameSize: number): { duration: string; percent: number }[] {
  const step = 100 / Math.ceil(duration / frameSize);
  const frames: { duration: string; percent: number }[] = [];
  let percent = 0;
  for (let left = duration; left > 0; left -= Math.min(frameSize, left)) {
    percent += step;
    frames.push({ duration: String(Math.min(frameSize, left)), percent });
  }
  return [...frames, { duration: "0", percent: 100 }];
}

/** `omitempty`, at every depth. */
function omitEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(omitEmpty);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(
    ([, one]) => ![false, 0, "", null, undefined].includes(one as never),
  );
  return Object.fromEntries(kept.map(([name, one]) => [name, omitEmpty(one)]));
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
