/** A rate limit for each remote address: a peer that nobody knows yet can only keep out its neighbours. */
import type { Clock } from "../../ports/clock.ts";
import { KeyedBuckets, type Rate } from "./token-bucket.ts";

/** Addresses remembered. */
const MAX_ADDRESSES = 1024;
/** Groups of 16 bits that name a network: a host with IPv6 has a /64 to itself (RFC 4291, 2.5.4). */
const NETWORK_GROUPS = 4;

export class AddressBuckets {
  readonly #networks: KeyedBuckets;

  constructor(clock: Clock, rate: Rate) {
    this.#networks = new KeyedBuckets(clock, rate, MAX_ADDRESSES);
  }

  /** Whether one more of `peer` may pass now; `peer` is `address:port`, as `getPeer` gives it. */
  take(peer: string): boolean {
    return this.#networks.take(networkOf(peer));
  }

  get size(): number {
    return this.#networks.size;
  }
}

/** The IPv4 address, or the /64 of the IPv6 address, of `address:port`. */
export function networkOf(peer: string): string {
  const address = peer.slice(0, Math.max(0, peer.lastIndexOf(":"))).toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address;
  const [bare = ""] = address.split("%");
  const [head = "", tail] = bare.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const all = [...before, ...Array.from({ length: zeros }, () => "0"), ...after];
  return `${all.slice(0, NETWORK_GROUPS).join(":")}::/64`;
}
