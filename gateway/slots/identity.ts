/** Which machine it is that asks: one machine has one slot, by whatever protocol it comes (design, section 5). */

/** /etc/machine-id (machine-id(5)), and Zincati's id, an HMAC of it in the same form. */
const MACHINE_ID = /^[0-9a-f]{32}$/;

/**
 * Identity of a machine that calls itself `id`, in the records of etcd. A machine id is the identity that our own agent
 * has there on a plain machine; any other word is kept apart, so that nobody can call itself a Node.
 */
export function uidOf(id: string): string {
  return MACHINE_ID.test(id) ? id : `foreign/${id}`;
}
