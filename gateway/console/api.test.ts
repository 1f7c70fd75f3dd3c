/** The parsers of the JSON API: whatever comes is an answer or a refusal, and nothing of it reaches a handler unchecked. */
import { Readable } from "node:stream";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Operation, operations } from "../../console/operations.ts";
import type { EdgeAnswer, EdgeRequest } from "../edge/server.ts";
import { FakeClock, fakeRandom } from "../fake-clock.ts";
import { Door } from "../sign-in/door.ts";
import { Seal } from "../sign-in/seal.ts";
import { Sessions } from "../sign-in/session.ts";
import { apiRoute, type Call, type Handlers } from "./api.ts";

/** Inputs of the fuzzer: FUZZ takes a count for more. */
const FUZZ = Number(process.env["FUZZ"] ?? 100_000);

const clock = new FakeClock();
const sessions = new Sessions({
  seal: new Seal([Buffer.alloc(32)], "session", fakeRandom()),
  secure: false,
  clock,
});
const cookie = sessions.cookie({ username: "alice", groups: [] })?.split(";", 1)[0] ?? "";
const door = new Door({
  sessions,
  tokens: { person: async () => undefined, remembers: () => false } as never,
  origin: "https://slipway.example.org",
  clock,
});
const calls: { name: string; call: Call }[] = [];
const handlers = Object.fromEntries(
  Object.keys(operations).map((name) => [
    name,
    async (call: Call): Promise<EdgeAnswer> => {
      calls.push({ name, call });
      return { status: 200, body: "{}" };
    },
  ]),
) as unknown as Handlers;
const route = apiRoute({ door, reviewer: { allowsReading: async () => true }, handlers });

function request(more: Partial<EdgeRequest> & { headers?: Record<string, string> }): EdgeRequest {
  const headers: Record<string, string> = { cookie, "x-slipway-request": "1", ...more.headers };
  return {
    ...{ method: "GET", path: "/api/v1/groups", query: new URLSearchParams(), search: "", peer: "10.0.0.1" },
    ...{ header: (name: string) => headers[name], body: Buffer.alloc(0) },
    ...{ gone: new AbortController().signal, arriving: () => Readable.from([]) },
    ...more,
  };
}

const path = fc.oneof(
  fc.constantFrom(...Object.values(operations).map((operation) => operation.path)),
  fc
    .tuple(
      fc.constantFrom("groups", "channels", "releases", "machines", "events", ""),
      fc.string({ maxLength: 20 }),
      fc.constantFrom("", "/pause", "/promote", "/steal", "/lift"),
    )
    .map(([list, name, verb]) => `/api/v1/${list}/${encodeURIComponent(name)}${verb}`),
  fc.string({ maxLength: 40 }).map((text) => `/api/v1/${text}`),
);
const value = fc.oneof(
  fc.json(),
  fc.string(),
  fc.constantFrom("{}", "[]", '{"release":"a","force":1}', "null"),
);
const query = fc.dictionary(
  fc.constantFrom("limit", "continue", "group", "state", "topics", "hours", "nonsense"),
  fc.oneof(fc.string({ maxLength: 20 }), fc.integer().map(String)),
);

test(`answers each of ${FUZZ} requests with a status, and gives handlers what the table allows`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "POST", "DELETE", "PUT", "HEAD"),
      path,
      query,
      value,
      async (method, to, asked, body) => {
        calls.length = 0;
        const answer = await route.answer(
          request({ method, path: to, query: new URLSearchParams(asked), body: Buffer.from(body) }),
        );
        expect([200, 400, 404, 405]).toContain(answer.status);
        const [called] = calls;
        if (called === undefined) return;
        expect(answer.status).toBe(200);
        const operation: Operation = operations[called.name as keyof typeof operations];
        expect(operation.method).toBe(method === "HEAD" ? "GET" : method);
        if (operation.body !== undefined) operation.body.parse(called.call.body);
        for (const name of Object.keys(called.call.query))
          expect(operation.query?.shape).toHaveProperty(name);
      },
    ),
    { numRuns: FUZZ },
  );
}, 600_000);

test.each([
  [{}, 200],
  [{ origin: "https://slipway.example.org" }, 200],
  [{ origin: "https://slipway.example.org:8443" }, 403],
  [{ origin: "http://slipway.example.org" }, 403],
  [{ origin: "null" }, 403],
  [{ "sec-fetch-site": "same-site" }, 403],
  [{ "sec-fetch-site": "none" }, 403],
])("a write with the headers %j is answered %i", async (headers, status) => {
  const to = { method: "POST", path: "/api/v1/groups/web/pause" };
  expect((await route.answer(request({ ...to, headers }))).status).toBe(status);
});

test("a write without the page's header is refused, whatever else it has", async () => {
  const to = { method: "POST", path: "/api/v1/groups/web/pause" };
  const bare = { cookie, origin: "https://slipway.example.org" } as Record<string, string>;
  expect((await route.answer(request({ ...to, header: (name) => bare[name] }))).status).toBe(403);
});

test("who may not list UpdateGroups learns nothing, not by a write that is refused either", async () => {
  const strange = apiRoute({ door, reviewer: { allowsReading: async () => false }, handlers });
  const body = Buffer.from('{"release":"r","reason":"why","group":"web","machines":["m"]}');
  for (const [name, { method, path: to, ...rest }] of Object.entries<Operation>(operations)) {
    if (rest.open === true || name === "me") continue;
    calls.length = 0;
    const answer = await strange.answer(request({ method, path: to.replace(/\{\w+\}/, "web"), body }));
    expect([name, answer.status, calls.length]).toEqual([name, 403, 0]);
  }
});
