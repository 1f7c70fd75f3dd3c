import * as fc from "fast-check";
import { expect, it } from "vitest";
import { FLATCAR } from "../../test/omaha/requests.ts";
import { readAsUpdateEngine } from "../../test/omaha/update-engine.ts";
import { type OmahaUpdate, renderResponse } from "./response.ts";

const sha256 = "ab".repeat(32);
const update: OmahaUpdate = {
  version: "2191.5.0",
  codebases: ["https://mirror.example/a?b=1&c", "https://other.example/"],
  payload: { name: "flatcar_production_update.gz", size: 3_219_522, sha256 },
  extras: [{ name: "oem-qemu.gz", size: 10, sha256: "cd".repeat(32) }],
};
const answer = (check: OmahaUpdate | "noupdate" | undefined, pollInterval?: number): string =>
  renderResponse(
    {
      apps: [{ appId: `{${FLATCAR}}`, ping: true, check, events: 2 }],
      ...(pollInterval === undefined ? {} : { pollInterval }),
    },
    Date.UTC(2026, 10, 27, 1, 2, 3),
  );

it("is an update that update_engine and download_sysext take", () => {
  expect(readAsUpdateEngine(answer(update))).toEqual({
    ...{ does: "update", version: "2191.5.0", size: 3_219_522, backoff: false },
    urls: [
      "https://mirror.example/a?b=1&c/flatcar_production_update.gz",
      "https://other.example/flatcar_production_update.gz",
    ],
    sha256: Buffer.from(sha256, "hex").toString("base64"),
    extras: [{ name: "oem-qemu.gz", sha256: "cd".repeat(32) }],
  });
});

it("is nothing to do, and when to ask again", () => {
  expect(readAsUpdateEngine(answer("noupdate"))).toEqual({ does: "nothing", pollInterval: undefined });
  expect(readAsUpdateEngine(answer("noupdate", 14_400))).toEqual({ does: "nothing", pollInterval: 14_400 });
});

it("acknowledges ping and events, after the day's seconds", () => {
  expect(answer(undefined)).toBe(
    `<?xml version="1.0" encoding="UTF-8"?>\n<response protocol="3.0" server="slipway"><daystart elapsed_seconds="3723"/><app appid="{${FLATCAR}}" status="ok"><ping status="ok"/><event status="ok"/><event status="ok"/></app></response>\n`,
  );
});

it("is read as it was meant, whatever names and addresses hold", () => {
  const text = fc
    .string({ minLength: 1, maxLength: 20, unit: "grapheme-ascii" })
    .map((s) => s.replaceAll(/\s/g, "_"));
  fc.assert(
    fc.property(text, text, text, (version, url, name) => {
      const verdict = readAsUpdateEngine(
        answer({ version, codebases: [url], payload: { name, size: 1, sha256 }, extras: [] }),
      );
      expect(verdict).toMatchObject({
        does: "update",
        version,
        urls: [`${url.endsWith("/") ? url : `${url}/`}${name}`],
      });
    }),
  );
});
