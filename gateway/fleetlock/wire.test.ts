/** Bodies of FleetLock's clients, good ones and damaged ones. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { damaged, FUZZ } from "../../test/damaged.ts";
import { parseClient } from "./wire.ts";

const ID = "0123456789abcdef0123456789abcdef";
const corpus = [
  // Zincati, curl in a script, and a client that sends more than we know.
  `{"client_params":{"id":"${ID}","group":"default"}}`,
  `{\n  "client_params": { "group": "workers.eu-1", "id": "rack 7 / node é" }\n}\n`,
  `{"client_params":{"id":"${ID}","group":"a","node_uuid":[1,2.5e3,null,true]},"more":{"x":"\\u0041\\n"}}`,
  `{"client_params":{"id":"","group":""}}`,
  "{}",
];

it("reads the id and the group, and leaves what it does not know", () => {
  expect(corpus.slice(0, 3).map((text) => parseClient(Buffer.from(text)))).toEqual([
    { id: ID, group: "default" },
    { id: "rack 7 / node é", group: "workers.eu-1" },
    { id: ID, group: "a" },
  ]);
});

it(`answers each of ${FUZZ} damaged bodies with a client or an error of the protocol`, () => {
  const pieces = [
    ...['"', "\\", "{", "}", "[", "]", ",", ":", "null", "-", "1e999", "\n", "\u0000", "é", "\u{1f40d}", "/"],
    ...["\\u0000", "\\ud800", '"__proto__":', '"client_params":', '"id":', '"group":', "\u200b", "\ufeff"],
  ];
  // Cut as bytes, too: within a character, it is no UTF-8.
  const body = fc
    .tuple(
      damaged(corpus, pieces),
      fc.option(fc.record({ at: fc.nat({ max: 120 }), byte: fc.nat({ max: 255 }) })),
    )
    .map(([text, wrong]) => {
      const bytes = Buffer.from(text);
      if (wrong !== null && wrong.at < bytes.length) bytes[wrong.at] = wrong.byte;
      return bytes;
    });
  const outcomes = { read: 0, refused: 0 };
  fc.assert(
    fc.property(body, (sent) => {
      const said = parseClient(sent);
      if ("kind" in said) {
        outcomes.refused += 1;
        const known = ["invalid_body", "invalid_client_params"].includes(said.kind);
        return known && said.status === 400 && said.value.length < 300;
      }
      outcomes.read += 1;
      const { id, group } = said;
      return id.length > 0 && id.length <= 256 && !/\p{Cc}/u.test(id) && /^[a-zA-Z0-9.-]{1,253}$/.test(group);
    }),
    { numRuns: FUZZ },
  );
  // It is no test of one of them alone.
  expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(FUZZ / 20);
}, 120_000);

it("reads no deeper than a body is long", () => {
  expect(parseClient(Buffer.from("[".repeat(4096)))).toMatchObject({ kind: "invalid_body" });
});
