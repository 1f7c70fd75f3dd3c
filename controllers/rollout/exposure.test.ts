import { expect, test } from "vitest";
import { exposure } from "./exposure.ts";
import { Fleet, groupOf } from "./test-fleet.ts";

function fleet(): Fleet {
  const fresh = new Fleet(groupOf("web"), 5);
  fresh.reconcile();
  fresh.reconcile();
  return fresh;
}

function room(of: Fleet, threshold: number, resumedAt?: number): number {
  const [, release] = of.releases;
  if (release === undefined) throw new Error("no release");
  return exposure(of.nodeUpdates, release, threshold, resumedAt).room;
}

test("as many nodes may be unverified as failures are tolerated, until as many were verified", () => {
  const web = fleet();
  expect(room(web, 2)).toBe(2);
  web.grant("n1");
  web.grant("n2");
  expect(room(web, 2)).toBe(0);
  web.succeed("n1");
  expect(room(web, 2)).toBe(1);
  web.succeed("n2");
  expect(room(web, 2)).toBe(Infinity);
});

test("a failure takes its room with it, until a person resumes", () => {
  const web = fleet();
  web.grant("n1");
  web.fail("n1");
  expect(room(web, 1)).toBe(0);
  expect(room(web, 2)).toBe(1);
  expect(room(web, 1, web.now)).toBe(1);
});

test("failures up to the threshold close it although enough were verified", () => {
  const web = fleet();
  web.grant("n1");
  web.succeed("n1");
  expect(room(web, 1)).toBe(Infinity);
  web.grant("n2");
  web.fail("n2");
  expect(room(web, 1)).toBe(0);
});
