/** Whom the group's hooks ask in the simulated world: it is slow, away, refuses, and says done when it likes. */
import type { HookPhase } from "../../api/hook.ts";
import type { HttpCaller } from "../../controllers/http/caller.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import { SeededRandom } from "./random.ts";

const URL = "http://desk.example/hook";
/** Milliseconds. */
const SLOW = 12_000;

/** The hooks of the group. One after the reboot that stopped would blame releases that are good. */
export const DESK_HOOKS = {
  before: [{ name: "desk", http: { url: URL }, timeout: "60s", onFailure: "Stop" }],
  after: [{ name: "desk", http: { url: URL }, timeout: "60s", onFailure: "Continue" }],
} as const;

export class Desk {
  readonly #random: SeededRandom;
  readonly #done = new Set<string>();

  constructor(seed: number) {
    this.#random = new SeededRandom(seed ^ 0xde5c);
  }

  /** Whether it ever said done to the grant of that nonce, though the answer may have been lost. */
  saidDone(grant: string, phase: HookPhase): boolean {
    return this.#done.has(`${grant}/${phase}`);
  }

  caller(clock: Clock): HttpCaller {
    return async ({ body = "", deadline }, signal) => {
      const { grant, phase } = JSON.parse(body) as { grant: string; phase: HookPhase };
      const wait = this.#random.chance(0.1) ? SLOW : this.#random.below(1500);
      await sleep(clock, Math.min(wait, deadline), signal);
      if (wait >= deadline) throw new Error(`no answer within ${deadline / 1000} s`);
      const lot = this.#random.next();
      if (lot < 0.5) {
        this.#done.add(`${grant}/${phase}`);
        return { status: 200, body: "" };
      }
      if (lot < 0.8) return { status: 202, body: "not yet" };
      if (lot < 0.9) return { status: 503, body: "" };
      if (lot < 0.95) throw new Error("connect ECONNREFUSED");
      return { status: phase === "Before" ? 409 : 503, body: "not now" };
    };
  }
}
