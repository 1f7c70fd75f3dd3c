/** How many downloads of payloads a gateway bears. */
export interface PayloadLimits {
  /** Downloads at once. */
  downloads: number;
  /** Of them, those of one network (an IPv4 address, a /64). */
  perNetwork: number;
}

/** A machine fetches while it holds a slot, so that budgets bound them long before; behind a proxy all have one address. */
export const defaultPayloadLimits: PayloadLimits = { downloads: 256, perNetwork: 64 };
