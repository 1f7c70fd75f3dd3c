import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { damaged, FUZZ, XML_PIECES } from "../../test/damaged.ts";
import { CHECK, event, FLATCAR, IDLE, PING, requestOf } from "../../test/omaha/requests.ts";
import { meaningOf } from "./event.ts";
import { OmahaError, parseRequest } from "./request.ts";

const parse = (xml: string) => parseRequest(Buffer.from(xml));
const app = (xml: string) => parse(xml).apps[0];

describe("what update_engine sends", () => {
  it("is read whole", () => {
    expect(
      parse(requestOf({ alias: "web &amp; &#39;db&#x27; &quot;1&quot;", inside: PING + CHECK + IDLE })),
    ).toEqual({
      ...{
        updater: "update_engine-0.4.10",
        follows: false,
        onDemand: false,
        osVersion: "2191.5.0_x86_64",
        platform: "CoreOS",
      },
      unknown: { attribute: 0, element: 0 },
      apps: [
        {
          ...{ sentId: `{${FLATCAR}}`, id: FLATCAR, version: "2191.5.0", track: "stable", fromTrack: "" },
          ...{
            bootId: "6f5c34a4-4b56-4c4b-a8d0-a9a3ac2f5f0e",
            machineId: "0123456789abcdef0123456789abcdef",
          },
          ...{ oem: "qemu", oemVersion: "0.0.1", alephVersion: "2000.0.0", alias: `web & 'db' "1"` },
          ...{ board: "amd64-usr", ping: true, check: true },
          events: [{ type: 3, result: 2, errorCode: 0, previousVersion: "" }],
        },
      ],
    });
  });

  it("may be a check that a person asked for", () => {
    expect(parse(requestOf({ installsource: "ondemandupdate" })).onDemand).toBe(true);
  });

  it("may be a ping alone, or an event alone", () => {
    expect(app(requestOf({ inside: PING }))).toMatchObject({ ping: true, check: false, events: [] });
    expect(app(requestOf({ inside: event(13, 1) }))).toMatchObject({ ping: false, check: false });
  });

  it("may hold quotes twice, as clients before 2023-10 left them in", () => {
    expect(app(requestOf({ oem: '"openstack"' }))).toMatchObject({ oem: "openstack", version: "2191.5.0" });
  });

  it("may come without braces, and in capitals", () => {
    const id = FLATCAR.toUpperCase();
    expect(app(requestOf({ appid: id, machineid: "{ABCDEF}" }))).toMatchObject({
      ...{ sentId: id, id: FLATCAR, machineId: "abcdef" },
    });
  });

  it("may have what nobody knows: it is counted", () => {
    const xml = requestOf({
      inside: `${PING}<data name="x"/><data/>${CHECK}${event(3, 2, ` of="x"`)}`,
    }).replace("ismachine", 'requestid="1" ismachine');
    expect(parse(xml)).toMatchObject({
      ...{ unknown: { attribute: 2, element: 2 }, apps: [{ ping: true, check: true }] },
    });
  });

  it("may have several apps, each with its own", () => {
    const two = requestOf({ inside: PING }).replace(
      "</request>",
      `<app appid="other" version="1"><updatecheck/></app></request>`,
    );
    expect(parse(two).apps.map(({ id, ping, check }) => ({ id, ping, check }))).toEqual([
      { id: FLATCAR, ping: true, check: false },
      { id: "other", ping: false, check: true },
    ]);
  });
});

describe("what is refused, once and clearly", () => {
  const bomb = `<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>`;
  it.each<[string, string, OmahaError["code"]]>([
    ["nothing", "", "NotXml"],
    ["text", "hello", "NotXml"],
    ["half a request", requestOf().slice(0, 400), "NotXml"],
    ["a request without its end", requestOf().replace("</request>", ""), "NotXml"],
    ["an app without its end", requestOf().replace("</app>", ""), "NotXml"],
    ["entities of its own", `${bomb}${requestOf()}`, "NotXml"],
    ["another encoding", requestOf().replace("UTF-8", "UTF-16"), "NotXml"],
    ["a deep one", requestOf({ inside: `${"<a>".repeat(200)}${"</a>".repeat(200)}` }), "NotXml"],
    ["another document", "<response></request>", "NotOmaha"],
    ["two requests", `<request protocol="3.0"/><request protocol="3.0"/>`, "NotOmaha"],
    ["protocol 2", requestOf().replace(`protocol="3.0"`, `protocol="2.0"`), "NotOmaha"],
    ["protocol 3.1", requestOf().replace(`protocol="3.0"`, `protocol="3.1"`), "NotOmaha"],
    ["no app", `<request protocol="3.0"></request>`, "NotOmaha"],
    ["an app without an id", requestOf({ appid: "" }), "NotOmaha"],
    ["seventeen apps", `<request protocol="3.0">${`<app appid="a"/>`.repeat(17)}</request>`, "TooLarge"],
    ["thirty-three events", requestOf({ inside: IDLE.repeat(33) }), "TooLarge"],
    ["a long machine id", requestOf({ machineid: "a".repeat(51) }), "TooLarge"],
  ])("%s", (_, xml, code) => {
    expect(() => parse(xml)).toThrow(expect.objectContaining({ name: "OmahaError", code }));
  });

  it("bytes that are no UTF-8", () => {
    expect(() => parseRequest(Buffer.from([0x3c, 0xff, 0xfe, 0x00]))).toThrow(OmahaError);
  });
});

describe("what an event means", () => {
  it.each([
    [13, 1, undefined, "0", { is: "downloading" }],
    [14, 1, undefined, "0", { is: "downloaded" }],
    [3, 1, undefined, "0", { is: "staged" }],
    [800, 1, undefined, "0", { is: "held" }],
    [3, 2, "1.0.0", "0", { is: "completed", from: "1.0.0" }],
    [3, 2, "", "0", { is: "idle" }],
    [3, 2, "0.0.0.0", "0", { is: "idle" }],
    [3, 2, undefined, "0", { is: "idle" }],
    [3, 0, undefined, "44", { is: "rolledBack" }],
    [3, 0, undefined, "268435490", { is: "failed", code: 34 }],
    [3, 0, undefined, "-1879048182", { is: "failed", code: 10 }],
    [3, 9, undefined, "40", { is: "deferred" }],
    [99, 1, undefined, "0", { is: "unknown" }],
  ] as const)("%d:%d previousversion %s errorcode %s", (type, result, previous, code, meaning) => {
    const more = `${previous === undefined ? "" : ` previousversion="${previous}"`} errorcode="${code}"`;
    const [sent] = app(requestOf({ inside: event(type, result, more) }))?.events ?? [];
    expect(sent && meaningOf(sent)).toEqual(meaning);
  });
});

const corpus = [
  requestOf(),
  requestOf({ oem: '"openstack"' }),
  requestOf({ inside: event(3, 0, ` errorcode="268435490"`) }),
  `<request protocol="3.0"><app appid="a"/></request>`,
];

it(`answers each of ${FUZZ} damaged requests with a request or an OmahaError`, () => {
  const pieces = [...XML_PIECES, "app", "</request>"];
  fc.assert(
    fc.property(damaged(corpus, pieces), (xml) => {
      try {
        const { apps } = parse(xml);
        return apps.length > 0 && apps.length <= 16 && apps.every(({ alias }) => alias.length <= 256);
      } catch (error) {
        return error instanceof OmahaError;
      }
    }),
    { numRuns: FUZZ },
  );
}, 120_000);
