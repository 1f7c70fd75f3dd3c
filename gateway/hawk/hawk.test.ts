/** Hawk against the examples of its README and of its reference implementation's tests, and as nobody should send it. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { damaged, FUZZ } from "../../test/damaged.ts";
import { HawkFormError, parseHeader } from "./header.ts";
import { macOf, payloadHash, timeMac } from "./mac.ts";
import { Nonces } from "./nonces.ts";
import { type HawkKey, type HawkRequest, MAX_SKEW, refuseNonce, type Verified, verify } from "./verify.ts";

const KEY = "werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn";
const ID = "dh37fgj492je";
/** Of the README's example, seconds. */
const TS = 1_353_832_234;
const NOW = TS * 1000;
const README = {
  ...{ ts: TS, nonce: "j4h3g2", method: "GET", resource: "/resource/1?b=1&a=2" },
  ...{ host: "example.com", port: 8000, hash: "", ext: "some-app-ext-data" },
};
const HASH = "Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY=";
const MAC = "6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE=";

describe("the examples of the README", () => {
  it("have these MACs and this hash", () => {
    expect(macOf("header", KEY, README)).toBe(MAC);
    expect(payloadHash("text/plain", "Thank you for flying Hawk")).toBe(HASH);
    expect(macOf("header", KEY, { ...README, method: "POST", hash: HASH })).toBe(
      "aSe1DERmZuRl3pI36/9BdZmnErTw3sNzOOAUlfeKjVw=",
    );
  });

  it("and the answer of the reference implementation's tests has this one", () => {
    const hash = payloadHash("text/plain", "some reply");
    expect(hash).toBe("f9cDF/TDm7TkYRLnGwRMfeDzT6LixQVLvrIKhh0vgmM=");
    const signed = {
      ...{ ts: 1_362_336_900, nonce: "eb5S_L", method: "POST", resource: "/resource/4?filter=a" },
      ...{ host: "example.com", port: 8080, hash, ext: "response-specific" },
    };
    expect(macOf("response", KEY, signed)).toBe("XIJRsMl/4oL+nn+vKoeVZPdCHXB4yJkNnBbTbHFZUYE=");
  });
});

const users: HawkKey[] = [
  { id: ID, key: KEY, hashRequired: false },
  { id: "strict", key: KEY, hashRequired: true },
];
const keyOf = (id: string): HawkKey | undefined => users.find((user) => user.id === id);

/** As tent/hawk-go writes it, which is what updateservicectl sends. */
function goHeader(attributes: Record<string, string | number>): string {
  return `Hawk ${Object.entries(attributes)
    .map(([name, value]) => `${name}="${value}"`)
    .join(", ")}`;
}

interface Sent {
  id?: string;
  key?: string;
  ts?: number;
  nonce?: string;
  method?: string;
  /** What is signed, where it is not what is sent. */
  signed?: Partial<typeof README>;
  target?: string;
  host?: string;
  body?: string;
  hash?: string;
}

function request(sent: Sent = {}): HawkRequest {
  const { id = ID, key = KEY, ts = TS, nonce = "j4h3g2", method = "GET" } = sent;
  const { target = "/a?alt=json", host = "example.com:8000", body = "", hash } = sent;
  const [name = "", port = "443"] = host.split(":");
  const mac = macOf("header", key, {
    ...{ ts, nonce, method, resource: target, host: name, port: Number(port), hash: hash ?? "", ext: "" },
    ...sent.signed,
  });
  const authorization = goHeader({ id, mac, ts, nonce, ...(hash === undefined ? {} : { hash }) });
  return { method, target, host, contentType: "application/json", body: Buffer.from(body), authorization };
}

function verified(sent?: Sent, now = NOW): Verified {
  const result = verify(request(sent), keyOf, now);
  if (result.outcome === "refused") throw new Error(result.message);
  return result;
}

function challenge(sent: Sent | HawkRequest, now = NOW): string {
  const asked = "authorization" in sent ? sent : request(sent);
  const result = verify(asked, keyOf, now);
  return result.outcome === "refused" ? result.challenge : "verified";
}

describe("a request", () => {
  it("is verified, and its answer signed", () => {
    const answer = verified({ method: "POST", body: "{}", hash: payloadHash("application/json", "{}") });
    expect(answer.id).toBe(ID);
    const hash = payloadHash("application/json", '{"a":1}');
    const mac = macOf("response", KEY, {
      ...{
        ts: TS,
        nonce: "j4h3g2",
        method: "POST",
        resource: "/a?alt=json",
        host: "example.com",
        port: 8000,
      },
      ...{ hash, ext: "" },
    });
    expect(answer.sign("application/json", '{"a":1}')).toBe(`Hawk mac="${mac}", hash="${hash}"`);
  });

  it.each<[string, Sent]>([
    ["by TLS, at the default port", { host: "example.com" }],
    ["without TLS, at the default port", { host: "example.com", signed: { port: 80 } }],
    ["behind an ingress that ends TLS", { host: "example.com", signed: { port: 443 } }],
    ["with a host in capitals", { host: "Example.COM:8000" }],
    ["by a client that signs the URL", { signed: { resource: "http://example.com:8000/a?alt=json" } }],
    [
      "by a client that signs a path without escapes",
      { target: "/u/a%40b?alt=json", signed: { resource: "/u/a@b?alt=json" } },
    ],
    ["with the body not hashed, as updateservicectl sends it", { method: "POST", body: "{}" }],
  ])("%s is verified", (_, sent) => {
    expect(verified(sent).id).toBe(ID);
  });

  it("to an address of IPv6 is verified", () => {
    const asked = request({ signed: { host: "::1" } });
    expect(verify({ ...asked, host: "[::1]:8000" }, keyOf, NOW).outcome).toBe("verified");
  });

  it.each<[string, Sent, string]>([
    ["another key", { key: "x" }, "Bad mac"],
    ["an id that nobody has", { id: "mallory" }, "Bad mac"],
    ["another path", { signed: { resource: "/b?alt=json" } }, "Bad mac"],
    ["another query", { signed: { resource: "/a?alt=xml" } }, "Bad mac"],
    ["another method", { method: "DELETE", signed: { method: "GET" } }, "Bad mac"],
    ["another host", { signed: { host: "example.org" } }, "Bad mac"],
    ["another port", { signed: { port: 8001 } }, "Bad mac"],
    ["the body of another", { body: "{}", hash: payloadHash("application/json", "{ }") }, "Bad payload hash"],
    ["no hash where the user must", { id: "strict", body: "{}" }, "Bad payload hash"],
  ])("with %s is refused", (_, sent, error) => {
    expect(challenge(sent)).toBe(`Hawk error="${error}"`);
  });

  it("of a user who must hash has nothing to hash without a body", () => {
    expect(verified({ id: "strict" }).id).toBe("strict");
  });

  it("without a header, or with one of another scheme, is asked to sign in", () => {
    const asked = request();
    expect(challenge({ ...asked, authorization: undefined })).toBe("Hawk");
    expect(challenge({ ...asked, authorization: "Basic eDp5" })).toBe('Hawk error="Bad header"');
  });

  it("whose clock is off is told the time, signed, so that it can set its own", () => {
    expect(verified({ ts: TS - MAX_SKEW }).id).toBe(ID);
    expect(verified({ ts: TS + MAX_SKEW }).id).toBe(ID);
    for (const ts of [TS - MAX_SKEW - 1, TS + MAX_SKEW + 1]) {
      expect(challenge({ ts })).toBe(`Hawk ts="${TS}", tsm="${timeMac(KEY, TS)}", error="Stale timestamp"`);
    }
    expect(challenge({ ts: TS - 3600, key: "x" })).toBe('Hawk error="Bad mac"');
  });
});

describe("a nonce", () => {
  it("counts once for as long as its time stamp is good, and for one user", () => {
    const nonces = new Nonces();
    const one = verified();
    const spend = ({ nonce, until }: Verified, now: number) => nonces.spend(nonce, until, now);
    expect(spend(one, NOW)).toBe("fresh");
    expect(spend(verified(), NOW + MAX_SKEW * 1000)).toBe("replayed");
    expect(spend(verified({ id: "strict" }), NOW)).toBe("fresh");
    expect(spend(verified({ ts: TS + 1 }), NOW)).toBe("fresh");
    expect(challenge({}, NOW + (MAX_SKEW + 1) * 1000)).toContain("Stale timestamp");
    expect(refuseNonce("replayed")).toMatchObject({ challenge: 'Hawk error="Invalid nonce"' });
    expect([refuseNonce("full"), refuseNonce("fresh")]).toEqual(["later", undefined]);
  });

  it("is refused rather than not remembered, and the old ones make room", () => {
    const nonces = new Nonces(2);
    expect(nonces.spend("a", 100, 0)).toBe("fresh");
    expect(nonces.spend("b", 200, 0)).toBe("fresh");
    expect(nonces.spend("c", 200, 50)).toBe("full");
    expect(nonces.spend("c", 200, 101)).toBe("fresh");
    expect(nonces.size).toBe(2);
  });

  it("of many is never taken twice within its time, and no more are kept than may be", () => {
    const asks = fc.array(fc.record({ key: fc.nat({ max: 20 }), later: fc.nat({ max: 40 }) }), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(asks, fc.integer({ min: 1, max: 8 }), (list, most) => {
        const nonces = new Nonces(most);
        const seen = new Map<number, number>();
        let now = 0;
        for (const { key, later } of list) {
          now += later;
          const taken = seen.get(key);
          const result = nonces.spend(String(key), now + 60, now);
          if (taken !== undefined && taken >= now) expect(result).toBe("replayed");
          else expect(result).not.toBe("replayed");
          if (result === "fresh") seen.set(key, now + 60);
          expect(nonces.size).toBeLessThanOrEqual(most);
        }
      }),
    );
  });
});

it("verifies what it signed, and nothing that was changed on the way", () => {
  const text = fc.stringMatching(/^[a-z0-9]{1,12}$/);
  const sent = fc.record({
    method: fc.constantFrom("GET", "POST", "PATCH", "DELETE", "PUT"),
    target: fc.tuple(text, text).map(([path, query]) => `/${path}?alt=${query}`),
    nonce: text,
    body: fc.string({ maxLength: 20 }),
  });
  const damage = fc.record({
    part: fc.constantFrom("method", "target", "host", "body", "authorization"),
    at: fc.nat(),
    put: fc.constantFrom("0", "a", "/", '"', ",", "é"),
  });
  fc.assert(
    fc.property(sent, damage, (one, { part, at, put }) => {
      const asked = request({ ...one, hash: payloadHash("application/json", one.body) });
      expect(verify(asked, keyOf, NOW).outcome).toBe("verified");
      const before = part === "body" ? asked.body.toString() : (asked[part as "target"] ?? "");
      const place = at % (before.length + 1);
      const after = before.slice(0, place) + put + before.slice(place + 1);
      if (after === before || after.toLowerCase() === before.toLowerCase()) return;
      const changed = { ...asked, [part]: part === "body" ? Buffer.from(after) : after };
      expect(verify(changed, keyOf, NOW).outcome).toBe("refused");
    }),
    { numRuns: 2000 },
  );
});

describe("a header", () => {
  it.each([
    ["another scheme", "Bearer x", "the scheme is not Hawk"],
    ["nothing in it", "Hawk ", "id is missing"],
    ["an empty id", goHeader({ id: "", ts: 1, nonce: "n", mac: MAC }), "id is missing"],
    [
      "a time that is none",
      goHeader({ id: "a", ts: "-1", nonce: "n", mac: MAC }),
      "ts is no number of seconds",
    ],
    ["half a MAC", goHeader({ id: "a", ts: 1, nonce: "n", mac: "abc" }), "mac is no SHA-256 in base64"],
    ["a name that Hawk has not", goHeader({ id: "a", x: 1 }), "there is no attribute x"],
    ["a name twice", 'Hawk id="a", id="b"', "id is there twice"],
    ["no quotes", "Hawk id=a", "what begins at character 5 is no attribute"],
    ["a quote in a value", 'Hawk id="a\\"b"', "what begins at character 5 is no attribute"],
    ["a comma at its end", 'Hawk id="a",', "the header ends with a comma"],
    ["an id without end", `Hawk id="${"a".repeat(300)}"`, "id is too long"],
    ["too much", `Hawk id="${"a".repeat(5000)}"`, "the header has more than 4096 characters"],
    ["dlg alone", goHeader({ id: "a", ts: 1, nonce: "n", mac: MAC, dlg: "b" }), "dlg is there without app"],
  ])("with %s is refused", (_, text, message) => {
    expect(() => parseHeader(text)).toThrow(new HawkFormError(message));
  });

  it("of the README is read", () => {
    const text = goHeader({ id: ID, ts: TS, nonce: "j4h3g2", ext: "some-app-ext-data", mac: MAC });
    expect(parseHeader(text)).toEqual({
      id: ID,
      ts: TS,
      nonce: "j4h3g2",
      ext: "some-app-ext-data",
      mac: MAC,
    });
  });
});

it(`answers each of ${FUZZ} damaged headers with what stands in them or a HawkFormError`, () => {
  const corpus = [
    request().authorization ?? "",
    goHeader({ id: ID, ts: TS, nonce: "j4h3g2", hash: HASH, ext: "some-app-ext-data", mac: MAC }),
    goHeader({ id: "a", ts: 1, nonce: "n", mac: MAC, app: "b", dlg: "c" }),
    "Hawk",
  ];
  const pieces = [
    '"',
    ",",
    " ",
    "=",
    "\\",
    "\n",
    "\u0000",
    "é",
    "\u{1f40d}",
    "Hawk ",
    'id="',
    "ts",
    'hash=""',
    "0",
  ];
  fc.assert(
    fc.property(damaged(corpus, pieces, 30), (text) => {
      try {
        const { id, ts, nonce, mac, hash } = parseHeader(text);
        const kept = [id, String(ts), nonce, mac, hash ?? ""].every((value) => text.includes(value));
        return kept && id !== "" && Number.isSafeInteger(ts) && nonce.length <= 128 && mac.length === 44;
      } catch (error) {
        return error instanceof HawkFormError;
      }
    }),
    { numRuns: FUZZ },
  );
}, 120_000);
