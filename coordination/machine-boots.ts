/** Which boots a machine without our agent named: one that comes back is another machine's, which has the same id. */
import type { ForeignMachine } from "./records.ts";

/** Boots that are remembered, of as many machines that share an id. */
const REMEMBERED = 4;
/** Machines ask every 45 min, and some hours apart where they are told to: what they share shows again in between, ms. */
const SHARED = 12 * 3_600_000;

export type Boots = Pick<ForeignMachine, "boots" | "sharedAt">;

/** What is remembered once a machine names `bootId`, which may be empty. */
export function bootsWith(
  before: Pick<ForeignMachine, "bootId" | "boots" | "sharedAt"> | undefined,
  bootId: string,
  now: number,
): Boots {
  const shared = before?.sharedAt === undefined ? {} : { sharedAt: before.sharedAt };
  const known = before?.boots ?? (before === undefined || before.bootId === "" ? [] : [before.bootId]);
  if (bootId === "" || known[0] === bootId) {
    return { ...shared, ...(before?.boots === undefined ? {} : { boots: before.boots }) };
  }
  const boots = [bootId, ...known.filter((boot) => boot !== bootId)].slice(0, REMEMBERED);
  return { ...(known.includes(bootId) ? { sharedAt: now } : shared), boots };
}

/** Whether several machines have the id, as far as was seen of late. */
export function isShared({ sharedAt }: Pick<ForeignMachine, "sharedAt">, now: number): boolean {
  return sharedAt !== undefined && now - sharedAt < SHARED;
}
