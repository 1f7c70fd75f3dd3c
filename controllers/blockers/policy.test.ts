import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Blocker } from "../../api/blocker.ts";
import { NOW } from "../fixtures.ts";
import { blockedBy, fits, type ReadAlert, type Reading } from "./policy.ts";

const SINCE = "2026-11-23T02:50:00Z";
const since = Date.parse(SINCE);
const url = "http://prometheus.test";

function alert(name: string, changes: Partial<ReadAlert> = {}): ReadAlert {
  return { name, labels: { alertname: name }, state: "firing", since, ...changes };
}

function ask(spec: Record<string, unknown>, reading: Reading | undefined, node: string | undefined = "a") {
  const blocker = Blocker.parse({ name: "x", ...spec });
  return blockedBy("pool", [blocker], node, new Map(reading === undefined ? [] : [["x", reading]]));
}

const alerts = (...list: ReadAlert[]): Reading => ({ kind: "alerts", alerts: list });

test("an alert that fires blocks, and is named with since when", () => {
  expect(ask({ alerts: { url } }, alerts(alert("Young", { since: NOW }), alert("Old")))).toEqual({
    reason: "Blocked",
    message: `Blocker x of UpdateGroup pool: alert Old fires since ${SINCE}, and 1 more.`,
  });
  expect(ask({ alerts: { url } }, alerts())).toBeUndefined();
});

test("a pending alert blocks only where it is asked for", () => {
  const pending = alerts(alert("Soon", { state: "pending" }));
  expect(ask({ alerts: { url } }, pending)).toBeUndefined();
  expect(ask({ alerts: { url, pending: true } }, pending)?.message).toContain("alert Soon is pending");
});

test("names and labels choose the alerts that block", () => {
  const only = { alerts: { url, only: ["Kube*"], ignore: ["KubeQuiet"] } };
  expect(ask(only, alerts(alert("KubeQuiet"), alert("Other")))).toBeUndefined();
  expect(ask(only, alerts(alert("KubeNodeNotReady")))?.reason).toBe("Blocked");
  const selected = { alerts: { url, selector: { matchLabels: { severity: "critical" } } } };
  expect(ask(selected, alerts(alert("A", { labels: { severity: "warning" } })))).toBeUndefined();
  expect(ask(selected, alerts(alert("A", { labels: { severity: "critical" } })))?.reason).toBe("Blocked");
});

test("an alert of Slipway does not keep Slipway from what would end it, unless it is named", () => {
  const own = alerts(alert("SlipwayRolloutStalled"));
  expect(ask({ alerts: { url } }, own)).toBeUndefined();
  expect(
    ask({ alerts: { url, only: ["SlipwayNodeSuspect"] } }, alerts(alert("SlipwayNodeSuspect")))?.reason,
  ).toBe("Blocked");
});

test("a Pod blocks the node that it runs on, and no plain machine", () => {
  const spec = { pods: { selector: { matchLabels: { app: "backup" } } } };
  const reading: Reading = { kind: "pods", pods: [{ namespace: "jobs", name: "b-1", node: "a", since }] };
  expect(ask(spec, reading, "a")?.message).toBe(
    `Blocker x of UpdateGroup pool: Pod jobs/b-1 runs here since ${SINCE}.`,
  );
  expect(ask(spec, reading, "b")).toBeUndefined();
  expect(
    blockedBy("pool", [Blocker.parse({ name: "x", ...spec })], undefined, new Map([["x", reading]])),
  ).toBeUndefined();
});

test("a hook's word is repeated, with since when", () => {
  const reading: Reading = { kind: "refused", message: "the backup runs", since };
  expect(ask({ http: { url } }, reading)?.message).toBe(
    `Blocker x of UpdateGroup pool: it says no since ${SINCE}: the backup runs.`,
  );
  expect(ask({ http: { url } }, { kind: "allowed" })).toBeUndefined();
});

test("no answer blocks, unless the group says that it doesn't", () => {
  const failed: Reading = { kind: "failed", cause: "connect ECONNREFUSED 10.0.0.1:9090", since };
  expect(ask({ alerts: { url } }, failed)).toEqual({
    reason: "BlockerFailed",
    message: `Blocker x of UpdateGroup pool gives no answer since ${SINCE}, which blocks: connect ECONNREFUSED 10.0.0.1:9090.`,
  });
  expect(ask({ alerts: { url }, onFailure: "Allow" }, failed)).toBeUndefined();
});

test("what was not asked yet blocks nobody: it is asked before the slot is taken", () => {
  expect(ask({ http: { url } }, undefined)).toBeUndefined();
});

test("of several blockers the first that blocks is told", () => {
  const blockers = ["one", "two", "three"].map((name) => Blocker.parse({ name, http: { url } }));
  const readings = new Map<string, Reading>([
    ["one", { kind: "allowed" }],
    ["two", { kind: "refused", message: "no", since }],
    ["three", { kind: "failed", cause: "x", since }],
  ]);
  expect(blockedBy("pool", blockers, "a", readings)?.message).toContain("Blocker two ");
});

test("a pattern means what the regular expression with .* for each star means", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 });
  const patterns = fc.string({ unit: fc.constantFrom("a", "b", "*"), minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(patterns, letters, (pattern, name) => {
      expect(fits(pattern, name)).toBe(new RegExp(`^${pattern.replaceAll("*", ".*")}$`).test(name));
    }),
    { numRuns: 2000 },
  );
});
