import { describe, expect, test } from "vitest";
import { isOrigin, isPath, personOf } from "./oidc.ts";

const settings = {
  ...{ issuer: "https://id.example.org", clientId: "console" },
  ...{ usernameClaim: "sub", groupsClaim: "groups", groupsPrefix: "" },
};

describe("names are made as kube-apiserver makes them", () => {
  test.each([
    [{}, "https://id.example.org#42"],
    [{ usernamePrefix: "oidc:" }, "oidc:42"],
    [{ usernamePrefix: "-" }, "42"],
    [{ usernameClaim: "email" }, "a@example.org"],
    [{ usernameClaim: "email", usernamePrefix: "oidc:" }, "oidc:a@example.org"],
  ])("with %j: %s", (more, username) => {
    const claims = { sub: "42", email: "a@example.org", email_verified: true };
    expect(personOf(claims, { ...settings, ...more }).username).toBe(username);
  });

  test.each([
    [
      ["a", "b"],
      ["x:a", "x:b", "system:authenticated"],
    ],
    ["a", ["x:a", "system:authenticated"]],
    [undefined, ["system:authenticated"]],
    [[1, null, ""], ["system:authenticated"]],
  ])("groups of %j are %j", (groups, expected) => {
    const person = personOf({ sub: "42", groups }, { ...settings, groupsPrefix: "x:" });
    expect(person.groups).toEqual(expected);
  });
});

test.each([
  [{}, {}, "no usable claim sub"],
  [{ sub: 42 }, {}, "no usable claim sub"],
  [{ sub: "x".repeat(2000) }, {}, "no usable claim sub"],
  [{ email: "a@b", email_verified: false }, { usernameClaim: "email" }, "has not verified a@b"],
  [{ email: "a@b", email_verified: "true" }, { usernameClaim: "email" }, "has not verified"],
  [{ sub: "system:admin" }, { usernamePrefix: "-" }, "a name of Kubernetes' own"],
  [{ sub: "42", groups: ["system:masters"] }, {}, "system:masters is a name of Kubernetes' own"],
  [{ sub: "42", groups: Array.from({ length: 1001 }, () => "a") }, {}, "too many groups"],
])("%j with %j is nobody: %s", (claims, more, why) => {
  expect(() => personOf(claims, { ...settings, ...more })).toThrow(why);
});

test.each([
  ["/", true],
  ["/groups/web?x=1#y", true],
  ["", false],
  ["//evil", false],
  ["/\\evil", false],
  ["/a\\b", false],
  ["https://evil", false],
  ["/a\r\nset-cookie: x", false],
  [`/${"a".repeat(2000)}`, false],
])("%j is a path of ours: %s", (text, is) => {
  expect(isPath(text)).toBe(is);
});

test.each([
  ["https://slipway.example.org", true],
  ["https://slipway.example.org:8443", true],
  ["http://127.0.0.1:8080", true],
  ["https://slipway.example.org/", false],
  ["http://slipway.example.org", false],
  ["slipway.example.org", false],
])("%s is an origin: %s", (text, is) => {
  expect(isOrigin(text)).toBe(is);
});
