/** Randomness as a port, so that a seed decides every draw in a simulation. */
import { randomUUID } from "node:crypto";

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A fresh version 4 UUID (RFC 9562). */
  uuid(): string;
}

export const systemRandom: Random = { next: () => Math.random(), uuid: () => randomUUID() };
