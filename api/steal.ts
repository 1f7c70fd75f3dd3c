/** The value of the steal annotation: why, and which grant is meant. */
import { STEAL_ANNOTATION } from "./labels.ts";
import type { KubeObject } from "./meta.ts";

/** Characters; what the status can hold. */
const LONGEST = 253;
const NAMED = / \(grant ([^\s()]+)\)$/;

/** The word by which a person frees the one grant of that nonce: a reason of theirs, cut to fit. */
export function stealOf(reason: string, nonce: string): string {
  const grant = ` (grant ${nonce})`;
  return reason.slice(0, LONGEST - grant.length) + grant;
}

/** The word on a NodeUpdate, as much of it as the status can hold; undefined where nobody steals. */
export function stealIn({ metadata }: KubeObject): string | undefined {
  return metadata.annotations?.[STEAL_ANNOTATION]?.slice(0, LONGEST);
}

/** Whether a steal means the grant of that nonce. One that names none, as a person annotates by hand, means whichever it finds. */
export function meansGrant(steal: string, nonce: string): boolean {
  const [, named = nonce] = NAMED.exec(steal) ?? [];
  return named === nonce;
}
