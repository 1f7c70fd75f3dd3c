import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseRequest } from "../../gateway/omaha/request.ts";
import { renderResponse } from "../../gateway/omaha/response.ts";
import { damaged, FUZZ, XML_PIECES } from "../../test/damaged.ts";
import { AnswerError, readAnswer } from "./answer.ts";
import { renderAsk } from "./ask.ts";

const hex = "ab".repeat(32);
const base64 = Buffer.from(hex, "hex").toString("base64");
/** As Nebraska writes it, with what it has besides. */
const nebraska = (inside = "", action = `sha256="${base64}"`): string =>
  `<?xml version="1.0" encoding="UTF-8"?>
<response protocol="3.0" server="nebraska"><daystart elapsed_seconds="0"></daystart><app appid="{e96281a6-d1af-4bde-9a0a-97b76e56dc57}" status="ok"><ping status="ok"></ping><updatecheck status="ok"><urls><url codebase="https://update.test/amd64-usr/4230.2.1/"></url></urls><manifest version="4230.2.1"><packages><package name="flatcar_production_update.gz" hash="GXbAzTKCUKmUvmGW/8nPaz2UDfg=" size="465881871" required="true"></package>${inside}</packages><actions><action event="postinstall" ChromeOSVersion="" ${action} needsadmin="false" IsDelta="false" DisablePayloadBackoff="true"></action></actions></manifest></updatecheck></app></response>
`;
const oem = `<package name="oem-qemu.gz" hash_sha256="${hex}" hash="x" size="5" required="false"></package>`;

describe("an answer", () => {
  it("is read, with its hashes in hex", () => {
    expect(readAnswer(nebraska(oem))).toEqual({
      is: "update",
      codebases: ["https://update.test/amd64-usr/4230.2.1/"],
      manifests: [
        {
          ...{ version: "4230.2.1", target: false },
          payload: { name: "flatcar_production_update.gz", size: 465_881_871, sha256: hex },
          extras: [{ name: "oem-qemu.gz", size: 5, sha256: hex }],
        },
      ],
    });
  });

  it("of ours is read back as it was meant", () => {
    const payload = { name: "a.gz", size: 7, sha256: hex };
    const codebases: [string] = ["https://a.test/x?y=1&z=2"];
    const check = {
      ...{ version: "1.2.3", codebases, payload, extras: [payload] },
      place: "target",
    } as const;
    const xml = renderResponse(
      {
        apps: [{ appId: "x", ping: false, check, events: 0 }],
      },
      0,
    );
    expect(readAnswer(xml)).toEqual({
      is: "update",
      codebases: ["https://a.test/x?y=1&z=2/"],
      manifests: [{ version: "1.2.3", payload, extras: [payload], target: true }],
    });
  });

  it.each<[string, string, object]>([
    [
      "nothing",
      nebraska().replace(`updatecheck status="ok"`, `updatecheck status="noupdate"`),
      { is: "nothing" },
    ],
    [
      "an app that is not served",
      nebraska().replace(`57}" status="ok"`, `57}" status="error-unknownApplication"`),
      { is: "refused", because: "error-unknownApplication" },
    ],
    [
      "Nebraska's word for not now",
      nebraska().replace(`updatecheck status="ok"`, `updatecheck status="error-internal"`),
      { is: "refused", because: "error-internal" },
    ],
  ])("says %s", (_, xml, reply) => {
    expect(readAnswer(xml)).toEqual(reply);
  });

  it.each<[string, string]>([
    ["is a page of a proxy", "<html><body>Sign in</body></html>"],
    ["is empty", ""],
    ["is JSON", "{}"],
    ["was cut off", nebraska().slice(0, -30)],
    ["has a document type", `<!DOCTYPE x [<!ENTITY a "b">]>${nebraska()}`],
    ["is deeper than any", `<response>${"<a>".repeat(2000)}${"</a>".repeat(2000)}</response>`],
    ["has no app", "<response></response>"],
    ["has no check", `<response><app status="ok"></app></response>`],
    ["names no URL", nebraska().replace(/<url .*?<\/url>/, "")],
    ["names a URL of another kind", nebraska().replace("https://update", "ftp://update")],
    ["names a place of ours", nebraska().replace("4230.2.1/", "{gateway}/")],
    ["has no manifest", nebraska().replace(/<manifest.*<\/manifest>/, "")],
    ["has no version", nebraska().replace(`manifest version="4230.2.1"`, "manifest")],
    ["has no package", nebraska().replace(/<package .*?<\/package>/, "")],
    ["has a package without a size", nebraska().replace(`size="465881871"`, `size="-1"`)],
    ["has no hash", nebraska("", "")],
    ["has a hash in hex where base64 stands", nebraska("", `sha256="${hex}"`)],
    ["has an extra with SHA-1 alone", nebraska(oem.replace(`hash_sha256="${hex}"`, ""))],
    [
      "has two hashes that differ",
      nebraska().replace(`hash="GX`, `hash_sha256="${"cd".repeat(32)}" hash="GX`),
    ],
    ["has more packages than there can be", nebraska(oem.repeat(100))],
  ])("that %s is refused in words", (_, xml) => {
    expect(() => readAnswer(xml)).toThrow(AnswerError);
  });
});

it("an ask is known as a server's that follows, without ping and events", () => {
  const product = "e96281a6-d1af-4bde-9a0a-97b76e56dc57";
  const machineId = "00000000-0000-8000-8000-000000000001";
  const request = parseRequest(
    Buffer.from(renderAsk({ product, track: `a"<&`, board: "arm64-usr", version: "1.0", machineId })),
  );
  expect(request).toMatchObject({
    ...{ follows: true, onDemand: false },
    apps: [
      {
        sentId: `{${product}}`,
        track: `a"<&`,
        board: "arm64-usr",
        version: "1.0",
        machineId,
        ping: false,
        check: true,
        events: [],
      },
    ],
  });
});

it(`reads each of ${FUZZ} damaged answers, or says what is wrong`, () => {
  const corpus = [nebraska(), nebraska(oem), `<response><app/></response>`];
  const pieces = [...XML_PIECES, "ok", "</response>"];
  fc.assert(
    fc.property(damaged(corpus, pieces), (xml) => {
      try {
        const reply = readAnswer(xml);
        return (
          reply.is !== "update" ||
          reply.manifests.every(({ payload, extras }) =>
            [payload, ...extras].every(({ size, sha256 }) => size > 0 && /^[0-9a-f]{64}$/.test(sha256)),
          )
        );
      } catch (error) {
        return error instanceof AnswerError;
      }
    }),
    { numRuns: FUZZ },
  );
}, 120_000);
