/** Records for the tests: valid, and with nothing that a test does not ask for. */
import type { Coordination, UpdateAsk, UpdateEnd } from "./coordination.ts";
import type { ForeignMachine, GroupGate } from "./records.ts";

/** Of a group in which nothing forbids a grant. `validUntil`: wall clock, ms. */
export function openGate(group: string, validUntil: number, change: Partial<GroupGate> = {}): GroupGate {
  return {
    group,
    paused: false,
    halted: false,
    deleting: false,
    quarantined: [],
    open: true,
    openUntil: null,
    freezesAt: null,
    validUntil,
    ...change,
  };
}

/** What a machine of the group `g` said of itself first. */
export function foreignMachine(id: string, change: Partial<ForeignMachine> = {}): ForeignMachine {
  return {
    ...{ id, group: "g", product: "p", version: "1", track: "g", board: "", oem: "", alias: "", bootId: "b" },
    ...{ firstSeen: 1, lastSeen: 1, failed: [], ...change },
  };
}

/** A machine of the group `g` asks for the release `r`. */
export function updateAsk(uid: string, change: Partial<UpdateAsk> = {}): UpdateAsk {
  return {
    ...{ uid, name: uid, group: "g", nonce: `nonce-${uid}`, release: "r", version: "2", threshold: 10 },
    ...{ machine: foreignMachine(uid), ...change },
  };
}

/** The end of the update that the machine has now. */
export async function updateEnd(
  room: Pick<Coordination, "readForeignMachine">,
  uid: string,
  how: UpdateEnd["how"],
  { code = 0, ...change }: Partial<ForeignMachine> & { code?: number } = {},
): Promise<UpdateEnd> {
  const machine = await room.readForeignMachine(uid);
  if (machine?.update === undefined) throw new Error(`${uid} has no update`);
  return { uid, machine: { ...machine, ...change }, how, code };
}
