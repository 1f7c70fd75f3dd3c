import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TrustedProxies } from "./client-address.ts";

const proxies = new TrustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00:1::/64"]);

describe("whom a request comes from", () => {
  test.each([
    ["nobody in front", "203.0.113.9", undefined, "203.0.113.9"],
    ["a stranger who names somebody else", "203.0.113.9", "198.51.100.1", "203.0.113.9"],
    ["a neighbour of a single proxy", "192.0.2.8", "198.51.100.1", "192.0.2.8"],
    ["a proxy", "10.1.2.3", "198.51.100.1", "198.51.100.1"],
    ["a single proxy", "192.0.2.7", "198.51.100.1", "198.51.100.1"],
    ["what the client itself sent before the proxy", "10.1.2.3", "1.1.1.1, 198.51.100.1", "198.51.100.1"],
    ["two proxies", "10.1.2.3", "1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"],
    ["a client that names a proxy of ours", "10.1.2.3", "10.0.0.1, 198.51.100.1", "198.51.100.1"],
    ["a client within the proxies' network", "10.1.2.3", "10.5.5.5", "10.5.5.5"],
    ["a proxy that names nobody", "10.1.2.3", undefined, "10.1.2.3"],
    ["a proxy with an empty header", "10.1.2.3", "", "10.1.2.3"],
    ["no address in the last place", "10.1.2.3", "198.51.100.1, unknown", "10.1.2.3"],
    ["no address behind a proxy", "10.1.2.3", "<script>, 10.9.9.9", "10.9.9.9"],
    ["a comma at the end", "10.1.2.3", "198.51.100.1,", "10.1.2.3"],
    ["a port", "10.1.2.3", "198.51.100.1:4711", "198.51.100.1"],
    ["IPv6", "fd00:1::5", "2001:db8::1", "2001:db8::1"],
    ["IPv6 in brackets", "fd00:1::5", "[2001:db8::1]:4711", "2001:db8::1"],
    ["IPv6 with a zone", "fd00:1::5%eth0", "fe80::1%eth0", "fe80::1"],
    ["another network of IPv6", "fd00:2::5", "2001:db8::1", "fd00:2::5"],
    ["IPv4 on a socket for both", "::ffff:10.1.2.3", "::ffff:198.51.100.1", "198.51.100.1"],
    ["a stranger's IPv4 on such a socket", "::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9"],
    ["no peer any more", "", "198.51.100.1", ""],
  ])("%s", (_, peer, forwarded, client) => {
    expect(proxies.clientOf(peer, forwarded)).toBe(client);
  });

  test("without proxies it is the peer, whatever the header says", () => {
    const none = new TrustedProxies([]);
    fc.assert(fc.property(fc.string(), (forwarded) => none.clientOf("10.0.0.1", forwarded) === "10.0.0.1"));
  });

  test("nothing that a client sends changes what the last proxy says of it", () => {
    const hop = fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.constantFrom("10.0.0.1", ",", "[", "\u0000"));
    const sent = fc.array(hop, { maxLength: 20 }).map((hops) => hops.join(","));
    fc.assert(
      fc.property(sent, (forwarded) => {
        expect(proxies.clientOf("10.1.2.3", `${forwarded}, 198.51.100.1`)).toBe("198.51.100.1");
        expect(proxies.clientOf("203.0.113.9", forwarded)).toBe("203.0.113.9");
      }),
    );
  });

  test("a chain of proxies without end is not followed", () => {
    const chain = Array.from({ length: 5000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
    const last = proxies.clientOf("10.1.2.3", ["198.51.100.1", ...chain].join(","));
    expect(last).toBe(chain.at(-8));
  });
});

test.each([
  "",
  "10.0.0.0/33",
  "fd00::/129",
  "10.0.0",
  "10.0.0.0/8/8",
  "fe80::1%eth0",
  "proxy",
  "10.0.0.0/-1",
])("%j is no network", (network) => {
  expect(() => new TrustedProxies([network])).toThrow(`${network} is no network`);
});

test("no more networks than anybody needs", () => {
  expect(() => new TrustedProxies(Array.from({ length: 65 }, () => "10.0.0.1"))).toThrow("65 networks");
});
