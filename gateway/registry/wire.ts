/**
 * Requests and answers of etcd's v2 keys API, as etcd 3.4's HTTP server reads and writes them: which parameter is wrong
 * is told in its order, and JSON is in the form of Go's encoder.
 */
import type { RegistryEvent, RegistryView } from "../../coordination/registry.ts";
import type { EdgeAnswer } from "../edge/server.ts";
import { V2Error } from "./errors.ts";
import { type Form, FormError, parseForm } from "./form.ts";
import type { Shown } from "./space.ts";
import type { Command } from "./store.ts";

/** Below which the keys lie. */
export const KEYS = "/v2/keys";
/** A form of the largest value, percent-escaped. */
export const MAX_BODY = 1 << 20;
/** Times in etcd's records are ms in numbers, in Go ns in 64 bits, which end in 2262: 100 years, in seconds, fit both. */
const MAX_TTL = 3_155_760_000n;
/** A uint64 of Go. */
const MAX_UINT64 = (1n << 64n) - 1n;

/** What a request asks. */
export type Ask =
  | { kind: "get"; path: string; recursive: boolean; quorum: boolean }
  | { kind: "watch"; path: string; recursive: boolean; stream: boolean; since: bigint }
  | { kind: "write"; command: Command; brief: boolean };

/** What of a request is read here. */
export interface KeyRequest {
  method: string;
  /** Percent-escaped, as sent, without what lies before the key. */
  key: string;
  /** As sent, without the question mark. */
  query: string;
  contentType: string | undefined;
  body: Buffer;
}

/** Throws `V2Error`. `now`: wall clock, ms, from which a TTL counts. */
export function parseRequest(request: KeyRequest, now: number): Ask {
  const form = formOf(request);
  const path = pathOf(request.key);
  const prevIndex = uint64(form, "prevIndex", 203);
  const since = uint64(form, "waitIndex", 203);
  const [recursive, , wait, dir, quorum, stream] = [
    "recursive",
    "sorted",
    "wait",
    "dir",
    "quorum",
    "stream",
  ].map((name) => bool(form, name));
  if (wait === true && request.method !== "GET") throw field('"wait" can only be used with GET requests');
  const prevValue = first(form, "prevValue");
  if (prevValue === "") throw new V2Error(201, '"prevValue" cannot be empty', 0);
  const brief = bool(form, "noValueOnSuccess") ?? false;
  const expires = expiry(form, now);
  const prevExist = bool(form, "prevExist", "invalid value for prevExist");
  const refresh = bool(form, "refresh", "invalid value for refresh") ?? false;
  const value = first(form, "value") ?? "";
  if (refresh && value !== "") throw new V2Error(211, "A value was provided on a refresh", 0);
  if (refresh && expires === undefined) throw new V2Error(212, "No TTL value set", 0);
  const compared = { prevValue: prevValue ?? "", prevIndex };
  const on = { path, dir: dir ?? false };
  switch (request.method) {
    case "PUT":
      return {
        kind: "write",
        brief,
        command: { kind: "put", ...on, ...compared, value, prevExist, expires, refresh },
      };
    case "POST":
      return { kind: "write", brief, command: { kind: "post", ...on, value, expires } };
    case "DELETE":
      return {
        kind: "write",
        brief,
        command: { kind: "delete", ...on, ...compared, recursive: recursive ?? false },
      };
    default:
      if (wait === true)
        return { kind: "watch", path, recursive: recursive ?? false, stream: stream ?? false, since };
      return { kind: "get", path, recursive: recursive ?? false, quorum: quorum ?? false };
  }
}

/** A path as Go's ServeMux wants it; it redirects where another was sent. `path` begins with a slash. */
export function cleanPath(path: string): string {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  const clean = `/${names.join("/")}`;
  return path.endsWith("/") && clean !== "/" ? `${clean}/` : clean;
}

/** Of a key as it was sent, percent-escaped; the slash at its end counts for nothing. */
export function pathOf(key: string): string {
  let path: string;
  try {
    path = decodeURIComponent(key);
  } catch {
    throw field("the key is no UTF-8");
  }
  return cleanPath(`/${path}`).replace(/(?<=.)\/$/, "");
}

function formOf({ method, query, contentType, body }: KeyRequest): Form {
  const type = contentType?.split(";", 1)[0]?.trim().toLowerCase();
  const read = (method === "PUT" || method === "POST") && type === "application/x-www-form-urlencoded";
  try {
    return parseForm(
      query,
      read ? new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body) : "",
    );
  } catch (error) {
    throw new V2Error(210, error instanceof FormError ? error.message : "a value is no UTF-8", 0);
  }
}

function first(form: Form, name: string): string | undefined {
  return form.get(name)?.[0];
}

function field(cause: string): V2Error {
  return new V2Error(209, cause, 0);
}

/** 0 where it is absent. */
function uint64(form: Form, name: string, code: 202 | 203): bigint {
  const text = first(form, name);
  if (text === undefined) return 0n;
  const number = /^\d{1,40}$/.test(text) ? BigInt(text) : undefined;
  if (number === undefined || number > MAX_UINT64) throw new V2Error(code, `invalid value for "${name}"`, 0);
  return number;
}

/** The words of Go's ParseBool. */
function bool(form: Form, name: string, cause = `invalid value for "${name}"`): boolean | undefined {
  const text = first(form, name);
  if (text === undefined) return undefined;
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw field(cause);
}

function expiry(form: Form, now: number): number | undefined {
  const text = first(form, "ttl");
  if (text === undefined || text === "") return undefined;
  const ttl = uint64(form, "ttl", 202);
  if (ttl > MAX_TTL) throw new V2Error(202, 'invalid value for "ttl"', 0);
  return now + 1000 * Number(ttl);
}

/** What every answer about keys tells. */
export interface Place {
  /** Identity of the cluster, as clients see it. */
  cluster: string;
  /** Index of the space. */
  index: number;
  /** Revision of etcd v3 that it was read at. */
  revision: number;
}

/** Headers of an answer; our order of writes is that of one head, which is term 1 of what clients take for Raft. */
export function headersOf({ cluster, index, revision }: Place): Record<string, string> {
  return {
    "x-etcd-cluster-id": cluster,
    "x-etcd-index": String(index),
    "x-raft-index": String(revision),
    "x-raft-term": "1",
  };
}

/** `brief`: without the nodes, as `noValueOnSuccess` asks. */
export function eventAnswer(event: RegistryEvent, place: Place, brief: boolean): EdgeAnswer {
  const created = event.action === "create" || (event.action === "set" && event.prev === undefined);
  const bare = brief && ["set", "compareAndSwap", "create", "update"].includes(event.action);
  const body = bare ? `{"action":"${event.action}"}\n` : eventText(event);
  return { status: created ? 201 : 200, type: "application/json", headers: headersOf(place), body };
}

export function nodeAnswer(node: Shown, place: Place): EdgeAnswer {
  const body = `{"action":"get","node":${nodeText(node, node.path)}}\n`;
  return { status: 200, type: "application/json", headers: headersOf(place), body };
}

export function errorAnswer(error: V2Error, cluster: string | undefined): EdgeAnswer {
  const cause = error.reason === "" ? "" : `,"cause":${goJson(error.reason)}`;
  return {
    ...{ status: error.status, type: "application/json" },
    headers: {
      "x-etcd-index": String(error.index),
      ...(cluster === undefined ? {} : { "x-etcd-cluster-id": cluster }),
    },
    body: `{"errorCode":${error.code},"message":${goJson(error.title)}${cause},"index":${error.index}}\n`,
  };
}

/** One line of JSON, as a watcher gets it. */
export function eventText(event: RegistryEvent): string {
  const prev = event.prev === undefined ? "" : `,"prevNode":${nodeText(event.prev, event.path)}`;
  return `{"action":"${event.action}","node":${nodeText(event.node, event.path)}${prev}}\n`;
}

/** What is empty, zero or false is left out, in etcd's order; of the root even the key. */
function nodeText(node: RegistryView & { nodes?: Shown[] }, path: string): string {
  const { value, dir, expires, ttl, nodes = [], modified, created } = node;
  const fields = [
    ...(path === "/" ? [] : [`"key":${goJson(path)}`]),
    ...(value === undefined ? [] : [`"value":${goJson(value)}`]),
    ...(dir === true ? ['"dir":true'] : []),
    ...(expires === undefined ? [] : [`"expiration":"${goTime(expires)}"`]),
    ...(ttl === undefined || ttl === 0 ? [] : [`"ttl":${ttl}`]),
    ...(nodes.length === 0
      ? []
      : [`"nodes":[${nodes.map((child) => nodeText(child, child.path)).join(",")}]`]),
    ...(modified === 0 ? [] : [`"modifiedIndex":${modified}`]),
    ...(created === 0 ? [] : [`"createdIndex":${created}`]),
  ];
  return `{${fields.join(",")}}`;
}

/** RFC 3339 as Go writes it: a fraction without zeros at its end. */
function goTime(at: number): string {
  return new Date(at).toISOString().replace(/\.?0*Z$/, "Z");
}

/** A string as Go's encoder writes it: safe in HTML, and with the long form of \b and \f. */
export function goJson(text: string): string {
  return JSON.stringify(text)
    .replaceAll(/\\(.)/g, (pair, letter: string) => ({ b: "\\u0008", f: "\\u000c" })[letter] ?? pair)
    .replaceAll(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
