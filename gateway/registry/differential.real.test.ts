/**
 * etcd 3.4, the last with a v2 API, and our route over a current etcd are asked the same, and must answer the same bytes.
 * Not compared: times (an `expiration` is only there or not, a `ttl` is one of those that were drawn), the numbers of
 * Raft and of the cluster, and the order of children where no order was asked, which etcd draws anew for each answer.
 *
 * What differs on purpose, and is not drawn here:
 * - a TTL beyond 100 years, which overflows in etcd and gives a key that has ended or never ends, is error 202;
 * - keys and values that are no UTF-8 are refused: JSON would give them back changed, as it does from etcd;
 * - limits (keys, bytes, depth, watchers), which etcd has none of;
 * - etcd ends what is due every half second; we when anybody looks, or at its time;
 * - a stream that begins in the past goes on after its first event, where etcd's falls silent for good;
 * - a stream hears of a deletion once, where etcd's, at the path itself, hears of it twice;
 * - a redirect, to a path without two slashes or dots, has no page in HTML;
 * - OPTIONS, which etcd answers to browsers of any origin, is no method of ours;
 * - `/v2/stats`, `/v2/auth` and changes of members.
 */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { type OldEtcd, startOldEtcd } from "../../test/registry/etcd-3.4.ts";
import { errors, normal, timeless } from "../../test/registry/normal.ts";
import { formOf, type Operation, operation } from "../../test/registry/operations.ts";
import {
  type Answer,
  type Ask,
  openPoll,
  type Poll,
  type Served,
  send,
  serveRegistry,
} from "../../test/registry/served.ts";

/** Each run is a sequence on what the one before left of the history, but without its keys. */
const RUNS = process.env.LONG === "1" ? 1500 : 250;
const OPERATIONS = 40;
const STREAMS = process.env.LONG === "1" ? 500 : 100;
const PATIENCE = 20_000;

let old: OldEtcd;
let etcd: EtcdPort;
let ours: Served;
let compared = 0;
let streamedLines = 0;

beforeAll(async () => {
  old = await startOldEtcd();
  etcd = connectEtcd({ endpoints: [inject("etcd")], clock: systemClock, random: systemRandom });
  ours = await serveRegistry(etcd, {
    name: `differential-${systemRandom.uuid()}`,
    firstIndex: await old.index(),
  });
});
afterAll(async () => {
  await ours?.close();
  await etcd?.close();
  await old?.stop();
});

async function both(request: Ask): Promise<[Answer, Answer]> {
  compared += 1;
  return Promise.all([send(old.port, request), send(ours.port, request)]);
}

const path = (key: string): string => `/v2/keys${key === "/" ? "/" : encodeURI(key)}`;

async function perform(operation: Operation, done: string[]): Promise<void> {
  if (operation.kind === "wait") return wait(operation, done);
  const { method, key, fields, index: kind, inQuery: query } = operation;
  const prevIndex = kind === "none" ? undefined : await indexFor(kind, key);
  const form = formOf(prevIndex === undefined ? fields : { ...fields, prevIndex });
  const request: Ask = query ? { method, path: `${path(key)}?${form}` } : { method, path: path(key), form };
  const [theirs, mine] = await both(request);
  done.push(`${method} ${request.path} ${request.form ?? ""} -> ${theirs.status} ${theirs.body.trim()}`);
  expect(normal(mine, fields.sorted === "true"), done.join("\n")).toEqual(
    normal(theirs, fields.sorted === "true"),
  );
  // What has no time left is gone at another moment in each: then both have one event more.
  if (fields.ttl === "0" && theirs.status < 300 && method !== "GET" && method !== "DELETE")
    await ended(theirs, key);
}

async function indexFor(kind: "own" | "newest" | "old", key: string): Promise<string> {
  if (kind === "old") return "3";
  const { headers, body } = await send(old.port, { path: path(key) });
  if (kind === "newest") return String(headers["x-etcd-index"] ?? 1);
  return /"modifiedIndex":(\d+)/.exec(body)?.[1] ?? "1";
}

async function ended({ body }: Answer, key: string): Promise<void> {
  const { node } = JSON.parse(body) as { node?: { key: string } };
  const at = path(node?.key ?? key);
  await waitUntil(
    async () =>
      (await Promise.all([send(old.port, { path: at }), send(ours.port, { path: at })])).every(
        ({ status }) => status >= 400,
      ),
    { what: `${at} has ended`, deadline: PATIENCE },
  );
}

/** Both wait; then something happens there that ends the waiting of whoever found nothing in the past. */
async function wait(
  { key, recursive, back }: Extract<Operation, { kind: "wait" }>,
  done: string[],
): Promise<void> {
  const since = back === undefined ? "" : `&waitIndex=${Math.max(0, (await old.index()) - back)}`;
  const target = `${path(key)}?wait=true&recursive=${key === "/" ? true : recursive}${since}`;
  const polls = await Promise.all([openPoll(old.port, target), openPoll(ours.port, target)]);
  const at = key === "/" ? "/w" : key;
  const ends: Ask[] = [
    { method: "DELETE", path: path(at), form: "recursive=true" },
    { method: "PUT", path: path(at), form: "value=w" },
  ];
  for (const end of ends) {
    const [theirs, mine] = await both(end);
    expect(normal(mine, true), done.join("\n")).toEqual(normal(theirs, true));
  }
  const [theirs, mine] = await Promise.all(
    polls.map(async (poll) =>
      normal({ status: poll.status, headers: poll.headers, body: (await poll.next()) ?? "" }, true),
    ),
  );
  for (const poll of polls) poll.close();
  compared += 1;
  done.push(`GET ${target} -> ${JSON.stringify(theirs)}`);
  expect(mine, done.join("\n")).toEqual(theirs);
}

/** Takes away what the run before left. */
async function clear(): Promise<void> {
  const [{ body }] = await both({ path: "/v2/keys/" });
  const { node } = JSON.parse(body) as { node: { nodes?: { key: string }[] } };
  for (const key of [...(node.nodes ?? []).map((child) => child.key), "/_h"]) {
    const [theirs, mine] = await both({ method: "DELETE", path: path(key), form: "recursive=true" });
    expect(normal(mine, true)).toEqual(normal(theirs, true));
  }
}

it(`answers ${RUNS} sequences of random requests as etcd 3.4 does`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { minLength: 1, maxLength: OPERATIONS, size: "max" }),
      async (operations) => {
        await clear();
        const done: string[] = [];
        for (const one of operations) await perform(one, done);
      },
    ),
    {
      numRuns: RUNS,
      endOnFailure: process.env.SHRINK === undefined,
      ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
    },
  );
  process.stderr.write(`slipway: ${compared} answers were compared with etcd 3.4\n`);
  expect(compared).toBeGreaterThanOrEqual(5000);
  expect([...errors].toSorted((a, b) => a - b)).toEqual([
    ...[100, 101, 102, 104, 105, 107, 108, 201, 202, 203, 209, 210, 211, 212, 401],
  ]);
}, 1_200_000);

/** Until the value that says so; of lines that came twice one. */
async function read(poll: Poll): Promise<string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = timeless((await poll.next()) ?? "the stream has ended");
    if (line !== lines.at(-1)) lines.push(line);
    if (line.includes('"value":"END"') || !line.startsWith("{")) return lines;
  }
}

it("tells streams the same events", async () => {
  const writes = fc.array(
    operation.filter((one) => one.kind === "ask" && one.method !== "GET" && one.fields.ttl !== "0"),
    { minLength: 20, maxLength: OPERATIONS },
  );
  const streamed = fc.constantFrom(
    "/?recursive=true",
    "/a?recursive=true",
    "/a",
    "/a/b",
    "/a/_h?recursive=true",
  );
  await fc.assert(
    fc.asyncProperty(writes, streamed, async (operations, watched) => {
      await clear();
      const target = `/v2/keys${watched}${watched.includes("?") ? "&" : "?"}wait=true&stream=true`;
      const polls = await Promise.all([openPoll(old.port, target), openPoll(ours.port, target)]);
      const done: string[] = [target];
      for (const one of operations) await perform(one, done);
      await both({ method: "DELETE", path: path("/a"), form: "recursive=true" });
      const key = watched.replace(/\?.*/, "");
      await both({ method: "PUT", path: path(key === "/" ? "/end" : key), form: "value=END" });
      const [theirs, mine] = await Promise.all(polls.map(read));
      for (const poll of polls) poll.close();
      streamedLines += mine?.length ?? 0;
      expect(mine, done.join("\n")).toEqual(theirs);
    }),
    { numRuns: STREAMS, endOnFailure: true },
  );
  process.stderr.write(`slipway: ${streamedLines} events of streams were compared with etcd 3.4\n`);
}, 300_000);

it("ends keys in the same order, with the same events", async () => {
  await clear();
  const began = await old.index();
  const made: [string, string][] = [
    ["/a/3", "value=x&ttl=3"],
    ["/a/1", "value=x&ttl=1"],
    ["/b", "dir=true&ttl=2"],
    ["/b/in", "value=x&ttl=100000"],
    ["/c", "value=x&ttl=1"],
  ];
  for (const [key, form] of made) await both({ method: "PUT", path: path(key), form });
  await both({ method: "PUT", path: path("/c"), form: "ttl=4&refresh=true&prevExist=true" });
  const events = async (port: number): Promise<string[]> => {
    const lines: string[] = [];
    // Six writes, then four ends; the refresh, at the sixth, is told to nobody.
    for (let at = began + 1; at <= began + 10; at++) {
      const poll = await openPoll(port, `/v2/keys/?wait=true&recursive=true&waitIndex=${at}`);
      lines.push(timeless((await poll.next()) ?? "").replaceAll(/"ttl":-?\d+,/g, ""));
      poll.close();
    }
    return lines;
  };
  const [theirs, mine] = await Promise.all([events(old.port), events(ours.port)]);
  expect(mine).toEqual(theirs);
  expect(
    mine.filter((line) => line.includes('"expire"')).map((line) => /"key":"([^"]+)"/.exec(line)?.[1]),
  ).toEqual([...["/a/1", "/a/1", "/b", "/a/3", "/c"]]);
  const [left, right] = await both({ path: path("/"), form: "recursive=true&sorted=true" });
  expect(normal(right, true)).toEqual(normal(left, true));
}, 60_000);
