/**
 * Who asks, where a proxy stands in front. `X-Forwarded-For` is what anybody may send, so that a hop of it counts only
 * where the one that names it is a proxy of ours.
 */
import { BlockList, isIP } from "node:net";

/** Proxies in a row that are believed; a longer chain is none that anybody runs. */
const MAX_HOPS = 8;
/** An address, its port and their brackets; where a hop is longer it is none. */
const MAX_ADDRESS = 64;
/** Networks that a gateway is told of. */
const MAX_NETWORKS = 64;

export class TrustedProxies {
  readonly #networks = new BlockList();

  /** Addresses, and networks as `10.0.0.0/8`. Throws a `RangeError` that names what is neither. */
  constructor(networks: readonly string[]) {
    if (networks.length > MAX_NETWORKS)
      throw new RangeError(`${networks.length} networks of proxies, of at most ${MAX_NETWORKS}`);
    for (const network of networks) {
      const [, address = "", length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
      const version = isIP(address);
      const bits = version === 6 ? 128 : 32;
      const prefix = length === undefined ? bits : Number(length);
      if (version === 0 || address.includes("%") || prefix > bits)
        throw new RangeError(`${network} is no network: an address is expected, or one as 10.0.0.0/8`);
      this.#networks.addSubnet(address, prefix, version === 6 ? "ipv6" : "ipv4");
    }
  }

  /**
   * Whom a request comes from: of the hops that `forwarded` names, from the last one on, the first that is no proxy of
   * ours. `peer` is who is connected; it is the answer, too, where it is none, or names nobody.
   */
  clientOf(peer: string, forwarded: string | undefined): string {
    let client = bare(peer);
    const hops = (forwarded ?? "").split(",");
    for (let named = 0; named < MAX_HOPS && this.#has(client); named++) {
      const hop = addressOf(hops.pop() ?? "");
      // What a proxy of ours does not tell is not asked of whoever is behind it.
      if (hop === undefined) break;
      client = hop;
    }
    return client;
  }

  #has(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#networks.check(address, version === 6 ? "ipv6" : "ipv4");
  }
}

/** Of a hop: some proxies add the port, and put an IPv6 address in brackets then. */
function addressOf(hop: string): string | undefined {
  const text = hop.trim();
  if (text.length > MAX_ADDRESS) return undefined;
  const [, bracketed] = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(text) ?? [];
  const [, withPort] = /^([\d.]+):\d{1,5}$/.exec(text) ?? [];
  const address = bare(bracketed ?? withPort ?? text);
  return isIP(address) === 0 ? undefined : address;
}

/** Without a zone, and an IPv4 address as itself: a socket for both versions tells it as one of IPv6. */
function bare(address: string): string {
  const [plain = ""] = address.split("%");
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1] ?? plain;
}
