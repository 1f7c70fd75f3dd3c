/** How a run of a hook is known to others: the same to every manager, another one under each grant. */
import { createHash } from "node:crypto";
import type { HookPhase } from "../../api/hook.ts";

/** Characters of a hook's name in the name of its Job; with the rest it stays below the 63 of a label. */
const SHOWN = 32;

/** `grant`: its nonce. */
export function runKey(grant: string, phase: HookPhase, hook: string): string {
  return `${grant}/${phase}/${hook}`;
}

/** Name of the Job of a run. */
export function jobName(key: string, hook: string): string {
  const digest = createHash("sha256").update(key).digest("hex").slice(0, 16);
  return `slipway-${hook.slice(0, SHOWN).replace(/-+$/, "")}-${digest}`;
}
