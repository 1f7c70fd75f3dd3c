/** Requests as clients send them, and as nobody should. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { damaged, FUZZ } from "../../test/damaged.ts";
import { V2Error } from "./errors.ts";
import { type Ask, cleanPath, eventText, goJson, type KeyRequest, parseRequest } from "./wire.ts";

const NOW = 1_800_000_000_000;
const FORM = "application/x-www-form-urlencoded";

function parse(
  method: string,
  key: string,
  query = "",
  body = "",
  contentType: string | undefined = FORM,
): Ask {
  return parseRequest({ method, key, query, contentType, body: Buffer.from(body) }, NOW);
}

function errorOf(request: () => unknown): string {
  try {
    request();
  } catch (error) {
    if (error instanceof V2Error) return `${error.status} ${error.code} ${error.reason}`;
    throw error;
  }
  return "";
}

describe("a request", () => {
  it("has its parameters in the body, which goes first, or in the query", () => {
    const ask = parse("PUT", "/a%2Fb/", "value=query&prevExist=1", "value=body+x%26&ttl=10");
    expect(ask).toEqual({
      ...{ kind: "write", brief: false },
      command: {
        ...{ kind: "put", path: "/a/b", dir: false, value: "body x&", prevValue: "", prevIndex: 0n },
        ...{ prevExist: true, expires: NOW + 10_000, refresh: false },
      },
    });
    expect(parse("DELETE", "/a", "recursive=true", "dir=true")).toMatchObject({
      command: { recursive: true, dir: false },
    });
    expect(parse("PUT", "/a", "", "value=x", "text/plain")).toMatchObject({ command: { value: "" } });
    expect(parse("GET", "", "wait=true&waitIndex=18446744073709551615")).toMatchObject({
      ...{ kind: "watch", path: "/", since: 18446744073709551615n },
    });
  });

  it.each([
    ["a name that is no number", "GET", "prevIndex=x", '400 203 invalid value for "prevIndex"'],
    [
      "a number that is too large",
      "GET",
      "waitIndex=18446744073709551616",
      '400 203 invalid value for "waitIndex"',
    ],
    ["a bool that is none", "GET", "recursive=yes", '400 209 invalid value for "recursive"'],
    ["a wait that is no GET", "PUT", "wait=true", '400 209 "wait" can only be used with GET requests'],
    ["an empty prevValue", "PUT", "prevValue=", '400 201 "prevValue" cannot be empty'],
    ["a ttl that is no number", "PUT", "ttl=-1", '400 202 invalid value for "ttl"'],
    ["another prevExist", "PUT", "prevExist=maybe", "400 209 invalid value for prevExist"],
    [
      "a refresh with a value",
      "PUT",
      "refresh=true&value=x&ttl=1",
      "400 211 A value was provided on a refresh",
    ],
    ["a refresh without a ttl", "PUT", "refresh=true", "400 212 No TTL value set"],
    ["half an escape", "PUT", "value=%4", '400 210 invalid URL escape "%4"'],
    ["a semicolon", "PUT", "value=a;b", "400 210 invalid semicolon separator in query"],
    ["bytes that are no UTF-8", "PUT", "value=%ff", "400 210 a value is no UTF-8"],
  ])("with %s is refused", (_, method, query, error) => {
    expect(errorOf(() => parse(method, "/a", query))).toBe(error);
  });

  it("whose path is not clean is sent to the one that is", () => {
    expect(["/v2/keys//a", "/v2/keys/a/../b/", "/v2/keys/./", "/.."].map(cleanPath)).toEqual([
      ...["/v2/keys/a", "/v2/keys/b/", "/v2/keys/", "/"],
    ]);
  });
});

it("writes JSON as Go does", () => {
  expect(goJson('<a href="x">&\u2028\b\f\n\\b\u0001é')).toBe(
    String.raw`"\u003ca href=\"x\"\u003e\u0026\u2028\u0008\u000c\n\\b\u0001é"`,
  );
  const node = { created: 1, modified: 2, value: "", expires: NOW + 120, ttl: 1 };
  expect(eventText({ action: "set", index: 2, path: "/a", node, nonce: "", after: "" })).toBe(
    `{"action":"set","node":{"key":"/a","value":"","expiration":"2027-01-15T08:00:00.12Z","ttl":1,"modifiedIndex":2,"createdIndex":1}}\n`,
  );
});

it(`answers each of ${FUZZ} requests with what is asked or a V2Error`, () => {
  const names = [
    "value",
    "ttl",
    "dir",
    "prevValue",
    "prevIndex",
    "prevExist",
    "refresh",
    "wait",
    "waitIndex",
    "recursive",
    "stream",
  ];
  const piece = fc.oneof(
    fc
      .tuple(
        fc.constantFrom(...names),
        fc.constantFrom(
          "",
          "1",
          "true",
          "x",
          "%41",
          "%",
          "%f",
          "%ff",
          "99999999999999999999",
          "-1",
          "a;b",
          "é",
          "+",
        ),
      )
      .map(([name, value]) => `${name}=${value}`),
    fc.string({ unit: "binary", maxLength: 8 }),
    fc.constantFrom("", "&", "=", "=&=", ";", "%00", "%zz=1"),
  );
  // What etcdctl, Go's client, locksmith and curl send.
  const forms = [
    "value=hello+world&ttl=60",
    "prevExist=true&refresh=true&ttl=30",
    "prevIndex=17&prevValue=%7B%22semaphore%22%3A1%2C%22max%22%3A1%2C%22holders%22%3Anull%7D&value=x",
    "quorum=true&recursive=true&sorted=true",
    "recursive=true&stream=false&wait=true&waitIndex=4242",
    "dir=true&recursive=true",
  ];
  const pieces = [
    "&",
    "=",
    ";",
    "%",
    "%zz",
    "%00",
    "%ff",
    "+",
    "-",
    "é",
    "\u0000",
    "true",
    "9".repeat(20),
    "ttl=",
  ];
  const form = fc.oneof(
    fc.array(piece, { maxLength: 5 }).map((drawn) => drawn.join("&")),
    damaged(forms, pieces, 10),
  );
  const paths = ["/coreos.com/updateengine/rebootlock/semaphore", "/a/_hidden/b%20c", "/"];
  const key = fc.oneof(
    fc
      .array(fc.constantFrom("/", "a", "_", "..", ".", "%2F", "%00", "%ff", "%", "é", "//"), { maxLength: 6 })
      .map((parts) => parts.join("")),
    damaged(paths, ["/", "..", ".", "%", "%2F", "%00", "%ff", "é", "_"], 10),
  );
  const request = fc.record<KeyRequest>({
    method: fc.constantFrom("GET", "HEAD", "PUT", "POST", "DELETE"),
    key,
    query: form,
    contentType: fc.constantFrom(undefined, FORM, `${FORM}; charset=utf-8`, "x"),
    body: fc.oneof(
      form.map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
    ),
  });
  fc.assert(
    fc.property(request, (sent) => {
      try {
        const ask = parseRequest(sent, NOW);
        const path = ask.kind === "write" ? ask.command.path : ask.path;
        return path === "/" || (/^(\/[^/]+)+$/.test(path) && !/\/\.\.?(\/|$)/.test(path));
      } catch (error) {
        return error instanceof V2Error && error.status < 500 && error.index === 0;
      }
    }),
    { numRuns: FUZZ },
  );
}, 120_000);
