/** A rate limit for each remote address: a peer that nobody knows yet can only keep out its neighbours. */
import type { Clock } from "../../ports/clock.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Addresses remembered; beyond it the one that was quiet longest begins anew. */
const MAX_ADDRESSES = 1024;
/** Groups of 16 bits that name a network: a host with IPv6 has a /64 to itself (RFC 4291, 2.5.4). */
const NETWORK_GROUPS = 4;

export class AddressBuckets {
  readonly #make: () => TokenBucket;
  /** By network; least recently used first. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#make = () => new TokenBucket(clock, perSecond, burst);
  }

  /** Whether one more of `peer` may pass now; `peer` is `address:port`, as `getPeer` gives it. */
  take(peer: string): boolean {
    const network = networkOf(peer);
    const bucket = this.#buckets.get(network) ?? this.#make();
    this.#buckets.delete(network);
    this.#buckets.set(network, bucket);
    if (this.#buckets.size > MAX_ADDRESSES) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    return bucket.take();
  }

  get size(): number {
    return this.#buckets.size;
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
