import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { keyId, signStatement, statementText } from "./statement.ts";
import { parseTrust, trustEntry, verifySignatures } from "./trust.ts";
import { checkVersion } from "./version.ts";

const keys = [1, 2, 3].map(() => generateKeyPairSync("ed25519"));
const [one, two, three] = keys as [(typeof keys)[0], (typeof keys)[0], (typeof keys)[0]];
const statement = {
  product: "io.example.harbor",
  version: "1.2.3",
  architecture: "amd64",
  rootHash: "ab".repeat(32),
  image: { size: 1000, sha256: "cd".repeat(32) },
  manifest: { size: 10, sha256: "ef".repeat(32) },
};
const sign = (key: typeof one, of = statement) => ({
  keyId: keyId(key.publicKey),
  signature: signStatement(of, key.privateKey),
});
const now = Date.UTC(2026, 6, 1);
const strict = { now, unsignedAllowed: false };
const roots = (threshold: number, entries: object[]) =>
  parseTrust(JSON.stringify({ threshold, keys: entries }));

describe("the statement", () => {
  test("is a text that can be signed by hand", () => {
    expect(statementText(statement).toString()).toBe(`slipway-image-v1
product: io.example.harbor
version: 1.2.3
architecture: amd64
root-hash: ${"ab".repeat(32)}
image-size: 1000
image-sha256: ${"cd".repeat(32)}
manifest-size: 10
manifest-sha256: ${"ef".repeat(32)}
`);
  });

  test.each(["a\nb", "a\rb", "a\u2028b", "\0"])(
    "refuses %j, which could pass for another line",
    (product) => {
      expect(() => statementText({ ...statement, product })).toThrow(RangeError);
    },
  );
});

describe("signatures", () => {
  test("as many different keys as the threshold must have signed", () => {
    const trust = roots(2, [trustEntry(one.publicKey), trustEntry(two.publicKey)]);
    expect(verifySignatures(statement, [sign(one), sign(two)], trust, strict)).toBe("signed");
    for (const signatures of [[], [sign(one)], [sign(one), sign(one)], [sign(one), sign(three)]]) {
      expect(() => verifySignatures(statement, signatures, trust, strict)).toThrow(/of 2 signatures/);
    }
  });

  test("every field is under the signature", () => {
    const trust = roots(1, [trustEntry(one.publicKey)]);
    const others = [
      { ...statement, product: "x" },
      { ...statement, version: "1.2.4" },
      { ...statement, architecture: "arm64" },
      { ...statement, rootHash: "00".repeat(32) },
      { ...statement, image: { ...statement.image, size: 1 } },
      { ...statement, image: { ...statement.image, sha256: "00".repeat(32) } },
      { ...statement, manifest: { ...statement.manifest, size: 1 } },
      { ...statement, manifest: { ...statement.manifest, sha256: "00".repeat(32) } },
    ];
    for (const other of others) {
      expect(() => verifySignatures(other, [sign(one)], trust, { now, unsignedAllowed: true })).toThrow(
        /does not fit/,
      );
    }
  });

  test("keys change by overlap", () => {
    const trust = roots(1, [
      { ...trustEntry(one.publicKey), notAfter: "2026-06-30T00:00:00Z" },
      { ...trustEntry(two.publicKey), notBefore: "2026-06-01T00:00:00Z" },
    ]);
    const june = { ...strict, now: Date.UTC(2026, 5, 15) };
    const may = { ...strict, now: Date.UTC(2026, 4, 15) };
    expect(verifySignatures(statement, [sign(one)], trust, june)).toBe("signed");
    expect(verifySignatures(statement, [sign(one), sign(two)], trust, strict)).toBe("signed");
    expect(() => verifySignatures(statement, [sign(one)], trust, strict)).toThrow(/out of its term/);
    expect(() => verifySignatures(statement, [sign(two)], trust, may)).toThrow(/out of its term/);
  });

  test("an unsigned image needs the group's and the machine's consent", () => {
    const consents = { ...roots(1, [trustEntry(one.publicKey)]), allowUnsigned: true };
    expect(verifySignatures(statement, [], consents, { now, unsignedAllowed: true })).toBe("unsigned");
    expect(() => verifySignatures(statement, [], consents, strict)).toThrow(/0 of 1 signatures/);
    const machine = roots(1, [trustEntry(one.publicKey)]);
    expect(() => verifySignatures(statement, [], machine, { now, unsignedAllowed: true })).toThrow(/0 of 1/);
    expect(
      verifySignatures(statement, [], parseTrust('{"allowUnsigned":true}'), { now, unsignedAllowed: true }),
    ).toBe("unsigned");
  });
});

test.each(["", "[]", "{}", '{"keys":[{"publicKey":"short"}]}', '{"threshold":2,"keys":[]}', '{"unknown":1}'])(
  "the trust file %j is refused",
  (text) => {
    expect(() => parseTrust(text)).toThrow(expect.objectContaining({ code: "TrustInvalid" }));
  },
);

test("a trust file lists a key once", () => {
  expect(() => roots(2, [trustEntry(one.publicKey), trustEntry(one.publicKey)])).toThrow(/twice/);
});

describe("versions", () => {
  test.each([
    [{ running: "1.0.0", target: "1.1.0" }, undefined],
    [{ running: "1.0.0", target: "1.1.0", floor: "1.1.0" }, undefined],
    [{ running: "1.2.0", target: "1.1.0", floor: "1.2.0" }, "DowngradeRefused"],
    [{ running: "1.2.0", target: "1.2.0-rc.1", floor: "1.2.0" }, "DowngradeRefused"],
    [{ running: "1.2.0", target: "1.1.0", floor: "1.2.0", allowDowngradeTo: "1.1.0" }, undefined],
    [{ running: "1.2.0", target: "1.0.0", floor: "1.2.0", allowDowngradeTo: "1.1.0" }, "DowngradeRefused"],
    [{ running: "1.2.0", target: "1.1.0", floor: "", allowDowngradeTo: "" }, undefined],
    [{ running: "1.2.0", target: "3.0.0", updatesFrom: "2.0.0" }, "NotReachable"],
    [{ running: "2.0.0", target: "3.0.0", updatesFrom: "2.0.0" }, undefined],
  ])("%j", (step, code) => {
    const check = (): void => checkVersion(step);
    if (code === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(expect.objectContaining({ code }));
  });
});
