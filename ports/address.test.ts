import { expect, test } from "vitest";
import { parseAddress } from "./address.ts";

test.each([
  [":7443", { port: 7443 }],
  ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
  ["gateway.example:65535", { host: "gateway.example", port: 65_535 }],
  ["[::1]:80", { host: "::1", port: 80 }],
])("%s", (text, address) => {
  expect(parseAddress(text)).toEqual(address);
});

test.each(["", "7443", "a:b", "a:70000", "::1:80", "a b:80", "[]:80"])("%j is refused", (text) => {
  expect(() => parseAddress(text)).toThrow("[HOST]:PORT expected");
});
