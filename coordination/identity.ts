/**
 * Which machine it is that asks: one machine has one slot, by whatever protocol it comes, and by whatever name (design,
 * section 5). Pure, but for what etcd knows, which is given.
 */
import { createHmac } from "node:crypto";
import type { Identity } from "./records.ts";

/** /etc/machine-id (machine-id(5)), and what is derived of it for one application, which has the same form. */
const MACHINE_ID = /^[0-9a-f]{32}$/;

/** Of identities that are no machine id. */
const FOREIGN = "foreign/";

/** The application that Zincati derives its id for (zincati src/identity/mod.rs). */
const ZINCATI = Buffer.from("de35106b6ec24688b63afddaa156679b", "hex");

/** What Zincati calls the machine with that machine id: sd_id128_get_machine_app_specific(3). */
export function zincatiId(machineId: string): string {
  const id = createHmac("sha256", Buffer.from(machineId, "hex")).update(ZINCATI).digest().subarray(0, 16);
  // A UUID of version 4 (RFC 9562, section 5.4).
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x40, 6);
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8);
  return id.toString("hex");
}

/**
 * Identity of a machine that calls itself `id`, in the records of etcd, where nothing else is known of it. A machine id
 * is the identity that our own agent has there on a plain machine; any other word is kept apart, so that nobody can
 * call itself a Node.
 */
export function uidOf(id: string): string {
  return MACHINE_ID.test(id) ? id : `${FOREIGN}${id}`;
}

/** What the machine with that identity calls itself: the other way round. */
export function idOf(uid: string): string {
  return uid.startsWith(FOREIGN) ? uid.slice(FOREIGN.length) : uid;
}

/**
 * Identities under which the machine `uid` may hold a slot as well, because it came by another name before anybody
 * knew whose that is.
 */
export function aliasesOf(uid: string): string[] {
  return MACHINE_ID.test(uid) ? [zincatiId(uid)] : [];
}

/** The names by which a machine with that machine id is known to the protocols. */
export function namesOf(machineId: string): string[] {
  return MACHINE_ID.test(machineId) ? [machineId, zincatiId(machineId)] : [];
}

/** What etcd knows of an id. */
export interface KnownIdentity {
  /** Said by the manager: one of our agents, or a Node. */
  told: Identity | undefined;
  /** The machine that came by its machine id before, and is called so by Zincati. */
  seen: string | undefined;
}

/** Who calls itself `id`. */
export function whoIs(id: string, { told, seen }: KnownIdentity): Identity {
  return told ?? (seen === undefined ? { uid: uidOf(id), name: id } : { uid: seen, name: seen });
}
