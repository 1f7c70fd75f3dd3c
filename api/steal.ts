/** The value of the steal annotation: why, and which grant is meant. */

/** Characters; what the status can hold. */
const LONGEST = 253;
const NAMED = / \(grant ([^\s()]+)\)$/;

/** The word by which a person frees the one grant of that nonce: a reason of theirs, cut to fit. */
export function stealOf(reason: string, nonce: string): string {
  const grant = ` (grant ${nonce})`;
  return reason.slice(0, LONGEST - grant.length) + grant;
}

/** Whether a steal means the grant of that nonce. One that names none, as a person annotates by hand, means whichever it finds. */
export function meansGrant(steal: string, nonce: string): boolean {
  const [, named = nonce] = NAMED.exec(steal) ?? [];
  return named === nonce;
}
