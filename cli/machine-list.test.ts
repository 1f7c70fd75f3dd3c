import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { operations } from "../console/operations.ts";
import type { KubeClient, ListResult } from "../runtime/client.ts";
import { originOf, serviceIn, tokenIn } from "./console-access.ts";
import { answerOf } from "./console-api.ts";
import { Failure } from "./io.ts";
import { columnsAt, type Row, sentenceOf } from "./machine-list.ts";
import { table } from "./output.ts";
import { namespaceOf } from "./snapshot.ts";

const Page = operations.listMachines.answer;
const machine: Row = {
  ...{
    uid: "0123456789abcdef0123456789abcdef",
    name: "machine-0123456789ab",
    kind: "machine",
    group: "edge",
  },
  ...{ zone: "east", version: "1.0.0", target: "1.1.0", state: "Staged", reason: "WaitingForWindow" },
  ...{ message: "No window is open.", since: "2026-01-01T00:00:00Z", slot: false, connected: true },
  labels: { rack: "r1" },
};
const omaha: Row = {
  ...{ uid: "fedcba9876543210fedcba9876543210", name: "till-7", kind: "foreign", group: "tills", zone: "" },
  ...{ version: "3815.2.0", target: "", state: "Idle", reason: "NotYourTurn", message: "", slot: false },
  ...{ protocol: "Omaha", lastSeen: "2026-01-01T00:55:00Z" },
};
const holder: Row = {
  ...{ uid: "foreign/edge-1", name: "edge-1", kind: "foreign", group: "edge", zone: "", version: "" },
  ...{ target: "", state: "Rebooting", reason: "", message: "", slot: true, protocol: "FleetLock" },
  since: "2026-01-01T00:58:00Z",
};

test("both kinds stand in one table", () => {
  const columns = columnsAt(Date.parse("2026-01-01T01:00:00Z"));
  expect(table([machine, { ...machine, connected: false }, omaha, holder], columns)).toBe(
    [
      "NAME                   GROUP   BY          RUNNING    TARGET   STATE       REASON             SINCE   SEEN",
      "machine-0123456789ab   edge    agent       1.0.0      1.1.0    Staged      WaitingForWindow   60m     connected",
      "machine-0123456789ab   edge    agent       1.0.0      1.1.0    Staged      WaitingForWindow   60m     away",
      "till-7                 tills   Omaha       3815.2.0   -        Idle        NotYourTurn        -       5m",
      "edge-1                 edge    FleetLock   -          -        Rebooting   -                  2m      -",
      "",
    ].join("\n"),
  );
  const [, ours, , theirs] = table([machine, omaha, holder], columns, true).split("\n");
  expect(ours).toMatch(/ {3}0123456789abcdef0123456789abcdef +east +rack=r1$/);
  // What `machines retry` and `steal` take, not how etcd keeps it apart.
  expect(theirs).toMatch(/ {3}edge-1 +- +-$/);
});

test("a machine that names itself writes one cell of its own row", () => {
  const columns = columnsAt(0);
  const spoof = "till\u001B[2K\u009B1A\u202E7\r\nother\u2028line\u0000\u0007";
  const [heading = "", line = "", ...rest] = table([{ ...omaha, name: spoof, lastSeen: "" }], columns).split(
    "\n",
  );
  expect(rest).toEqual([""]);
  expect(line).toContain("till\uFFFD[2K\uFFFD1A\uFFFD7 other line\uFFFD\uFFFD   tills");
  expect(line.indexOf("tills")).toBe(heading.indexOf("GROUP"));
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (name, zone) => {
      const text = table([{ ...omaha, name, zone }, omaha], columns, true);
      expect(text.split("\n")).toHaveLength(4);
      expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
    }),
  );
});

test("what is missing is one sentence, with where it can be seen", () => {
  expect(sentenceOf({ missing: undefined })).toBeUndefined();
  expect(sentenceOf({ missing: "the console does not know the token" })).toBe(
    "machines without our agent are not listed, because the console does not know the token; the console has them, and `kubectl get updategroups -o yaml` their numbers and who holds a slot, in status.machines",
  );
});

describe("the token", () => {
  test("is the kubeconfig's", () => {
    expect(tokenIn({ authorization: "Bearer abc.def" })).toBe("abc.def");
  });

  test.each(["", "Basic YTpi"])("of a user who has none: %j", (authorization) => {
    expect(() => tokenIn(authorization === "" ? {} : { authorization })).toThrow(
      'give --token "$(kubectl create token SERVICEACCOUNT',
    );
  });

  test("of one who stands in for another is not that other's", () => {
    expect(() => tokenIn({ authorization: "Bearer a", "impersonate-user": "b" })).toThrow("stands in for");
  });

  test.each([
    ["http://slipway.example.org", "would show the token to the network"],
    ["ftp://slipway.example.org", "is no URL"],
    ["slipway.example.org", "is no URL"],
    ["https://a@slipway.example.org", "address alone"],
    ["https://slipway.example.org/console", "address alone, such as https://slipway.example.org"],
  ])("is not sent to %s", (url, sentence) => {
    expect(() => originOf(url)).toThrow(sentence);
  });

  test.each(["https://slipway.example.org/", "http://127.0.0.1:8080", "http://[::1]:8080"])(
    "is sent to %s",
    (url) => {
      expect(originOf(url)).toBe(new URL(url).origin);
    },
  );
});

describe("where the token is sent", () => {
  /** Whose every list is of objects with these names, `namespace/name`. */
  const having = (...names: string[]): Pick<KubeClient, "list"> => ({
    list: async <T extends KubeObject>(): Promise<ListResult<T>> => {
      const objects: unknown = names.map((each) => {
        const [namespace, name] = each.split("/");
        return { metadata: { namespace, name }, spec: { ports: [{ port: 443 }] } };
      });
      return { items: objects as T[], resourceVersion: "1" };
    },
  });

  test("is Slipway's namespace, and nobody else's who made a Lease of the same name", async () => {
    const two = having("a-tenant/slipway-manager", "slipway-system/slipway-manager");
    await expect(namespaceOf(two, undefined)).rejects.toThrow(
      "Slipway's leader Lease is in 2 namespaces (a-tenant and slipway-system): give --namespace",
    );
    expect(await namespaceOf(two, "slipway-system")).toBe("slipway-system");
    expect(await namespaceOf(having("slipway-system/slipway-manager"), undefined)).toBe("slipway-system");
    await expect(namespaceOf(having(), undefined)).rejects.toThrow("is nowhere: give --namespace");
  });

  test("is the only Service there of a console", async () => {
    await expect(serviceIn(having("s/a-console", "s/slipway-console"), "s")).rejects.toThrow(
      "2 Services of namespace s serve a console (a-console and slipway-console): give --console URL",
    );
    expect(await serviceIn(having("s/slipway-console", "s/other"), "s")).toEqual({
      service: "slipway-console",
      port: 443,
      tls: true,
    });
  });
});

describe("an answer of a console", () => {
  test("whatever it is, is a page or a sentence", () => {
    const near = { items: fc.array(fc.jsonValue()), total: fc.jsonValue(), asOf: fc.jsonValue() };
    const page = fc.record(near, { requiredKeys: [] }).map((value) => JSON.stringify(value));
    const texts = fc.oneof(fc.string(), fc.json(), page);
    fc.assert(
      fc.property(fc.constantFrom(200, 401, 404, 500), texts, (status, text) => {
        try {
          expect(answerOf(Page, status, text).items).toBeInstanceOf(Array);
        } catch (error) {
          expect(error).toBeInstanceOf(Failure);
        }
      }),
    );
  });

  test("that refuses says why", () => {
    const said = (error: string, message: string): string => JSON.stringify({ error, message });
    expect(() => answerOf(Page, 401, said("SignInNeeded", "Sign in first."))).toThrow(
      "does not know the token",
    );
    expect(() => answerOf(Page, 403, said("Forbidden", "eve may not list nodeupdates."))).toThrow(
      /^the console says: eve may not list nodeupdates$/,
    );
  });
});
