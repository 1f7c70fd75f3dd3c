import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { systemRandom } from "../../ports/random.ts";
import { FakeClock } from "../fake-clock.ts";
import { Seal } from "./seal.ts";
import { cookieOf, SESSION_LIFE, Sessions } from "./session.ts";

const [old, young] = [Buffer.alloc(32, 1), Buffer.alloc(48, 2)];
const alice = { username: "alice", groups: ["fleet", "system:authenticated"] };

function sessions(keys: readonly Buffer[], clock = new FakeClock(), secure = true): Sessions {
  return new Sessions({ seal: new Seal(keys, "session", systemRandom), secure, clock });
}

/** As a browser sends it back. */
function sent(cookie: string | undefined): string {
  return cookie?.split(";", 1)[0] ?? "";
}

describe("a session", () => {
  test("names the user and the groups, and is opened by every gateway that has the key", () => {
    const cookie = sessions([young]).cookie(alice);
    expect(cookie).toMatch(
      /^__Host-slipway=[\w-]+; Path=\/; Max-Age=28800; HttpOnly; SameSite=Strict; Secure$/,
    );
    expect(sessions([young, old]).read(sent(cookie))?.person).toEqual(alice);
    expect(sessions([old]).read(sent(cookie))).toBeUndefined();
  });

  test("goes on while keys are replaced, the old one behind the new one", () => {
    const cookie = sent(sessions([old]).cookie(alice));
    expect(sessions([young, old]).read(cookie)?.person).toEqual(alice);
    expect(sessions([young]).read(cookie)).toBeUndefined();
  });

  test("ends after eight hours, or when what it rests on ends", async () => {
    const clock = new FakeClock();
    const cookie = sent(sessions([old], clock).cookie(alice));
    await clock.advance(SESSION_LIFE - 1);
    expect(sessions([old], clock).read(cookie)).toBeDefined();
    await clock.advance(1);
    expect(sessions([old], clock).read(cookie)).toBeUndefined();
    const short = sent(sessions([old], clock).cookie(alice, clock.now() + 60_000));
    await clock.advance(60_000);
    expect(sessions([old], clock).read(short)).toBeUndefined();
  });

  test("of another purpose, or changed in any bit, is none", () => {
    const seal = new Seal([old], "sign-in", systemRandom);
    const text = seal.close({ u: "alice", g: [], e: Number.MAX_SAFE_INTEGER });
    expect(sessions([old]).read(`__Host-slipway=${text}`)).toBeUndefined();
    const value = sent(sessions([old]).cookie(alice)).slice("__Host-slipway=".length);
    const bytes = Buffer.from(value, "base64url");
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const shown = `__Host-slipway=${changed.toString("base64url")}`;
        return sessions([old]).read(shown) === undefined;
      }),
    );
  });

  test("that would not fit into a cookie is not made", () => {
    const groups = Array.from({ length: 40 }, (_, i) => `team-${i}`);
    expect(sessions([old]).cookie({ ...alice, groups })).toBeDefined();
    const many = Array.from({ length: 300 }, () => systemRandom.uuid());
    expect(sessions([old]).cookie({ ...alice, groups: many })).toBeUndefined();
  });

  test("is never read out of nonsense", () => {
    const reader = sessions([old]);
    fc.assert(
      fc.property(fc.string(), (text) => reader.read(text) === undefined),
      { numRuns: 1000 },
    );
    fc.assert(
      fc.property(fc.base64String(), (text) => reader.read(`__Host-slipway=${text}`) === undefined),
      { numRuns: 1000 },
    );
  });
});

test("a key that is too short, or none, is refused at the start", () => {
  expect(() => sessions([])).toThrow("at least one of 32 bytes");
  expect(() => sessions([old, Buffer.alloc(31)])).toThrow("has 31 bytes");
});

test.each([
  ["slipway=a", "a"],
  ["x=1; slipway=a; y=2", "a"],
  ["x-slipway=1; slipway=b=c", "b=c"],
  ["slipwayed=1", undefined],
  ["=slipway; ;;", undefined],
  [undefined, undefined],
])("the cookie of %j is %j", (header, value) => {
  expect(cookieOf(header, "slipway")).toBe(value);
});
