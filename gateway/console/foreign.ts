/** Machines without our agent, of which no NodeUpdate tells: what the gateways know of them, in etcd. */
import type * as view from "../../console/contract.ts";
import { isWithoutSlot, stagedRelease } from "../../coordination/admission.ts";
import type { FleetSnapshot, LiveGrant } from "../../coordination/coordination.ts";
import { wordsOf } from "../../coordination/fleet.ts";
import type { MachineView } from "../../coordination/machine-view.ts";
import type { ForeignMachine, GroupGate } from "../../coordination/records.ts";

export interface ForeignShown {
  uid: string;
  name: string;
  group: string;
  version: string;
  target: string;
  state: view.Machine["state"];
  reason: string;
  message: string;
  /** Wall clock, ms: of its state. */
  since: number | undefined;
  lastSeen: number | undefined;
  slot: boolean;
  budgets: readonly string[];
  protocol: string;
  failed: readonly { release: string; reason: string; message: string; at: number }[];
}

/** Those that ask by Omaha are known by what they said last; of those that ask for a slot only the holders are. */
export class ForeignMachines {
  readonly #known: Pick<MachineView, "get" | "counts" | typeof Symbol.iterator>;
  #holders: ReadonlyMap<string, LiveGrant> = new Map();
  #gates: ReadonlyMap<string, GroupGate> = new Map();

  constructor(known: Pick<MachineView, "get" | "counts" | typeof Symbol.iterator>) {
    this.#known = known;
  }

  /** Takes in a read of the fleet; gives the uids of those that hold a slot since, or no more. */
  setGrants(grants: FleetSnapshot["grants"]): Set<string> {
    const now = new Map([...grants].filter(([, { grant }]) => grant.foreign !== undefined));
    const changed = new Set<string>();
    for (const uid of this.#holders.keys()) if (!now.has(uid)) changed.add(uid);
    for (const [uid, live] of now) {
      const before = this.#holders.get(uid);
      const isSame =
        before?.token.revision === live.token.revision && wordsOf(before).join() === wordsOf(live).join();
      if (!isSame) changed.add(uid);
    }
    this.#holders = now;
    return changed;
  }

  /** Whether they say another thing of machines than those before. */
  setGates(gates: FleetSnapshot["groupGates"]): boolean {
    const before = barredBy(this.#gates);
    this.#gates = gates;
    return barredBy(gates) !== before;
  }

  /** Those that hold a slot, by uid; `grant.node` is the name that its holder has wherever slots are told of. */
  get holders(): ReadonlyMap<string, LiveGrant> {
    return this.#holders;
  }

  get(uid: string): ForeignShown | undefined {
    const machine = this.#known.get(uid);
    const held = this.#holders.get(uid);
    if (machine !== undefined) {
      const gate = this.#gates.get(machine.group);
      const isBarred = gate?.quarantined.includes(stagedRelease(gate, machine)) === true;
      return ofOmaha(uid, machine, held, isBarred);
    }
    return held === undefined ? undefined : ofHolder(held);
  }

  *uids(): IterableIterator<string> {
    for (const [uid] of this.#known) yield uid;
    for (const uid of this.#holders.keys()) if (this.#known.get(uid) === undefined) yield uid;
  }

  /** Machines of a group by version; holders of which nothing else is known have none. */
  versions(group: string): ReadonlyMap<string, number> {
    const versions = new Map<string, number>();
    for (const [version, { Idle, Updating, Failed }] of this.#known.counts.get(group) ?? [])
      versions.set(version, Idle + Updating + Failed);
    for (const [uid, { grant }] of this.#holders) {
      if (grant.group !== group || this.#known.get(uid) !== undefined) continue;
      versions.set("", (versions.get("") ?? 0) + 1);
    }
    return versions;
  }
}

const STATES = {
  Granted: "Staging",
  Downloading: "Staging",
  Downloaded: "Staged",
  Staged: "Staged",
  Held: "Staged",
} as const satisfies Record<NonNullable<ForeignMachine["update"]>["state"], view.Machine["state"]>;

/** What `setGates` compares. */
function barredBy(gates: ReadonlyMap<string, GroupGate>): string {
  return JSON.stringify(
    [...gates].flatMap(([group, gate]) => (isWithoutSlot(gate) ? [[group, ...gate.quarantined]] : [])),
  );
}

function ofOmaha(
  uid: string,
  machine: ForeignMachine,
  held: LiveGrant | undefined,
  isBarred: boolean,
): ForeignShown {
  const { update, failed, why, lastSeen } = machine;
  // By another protocol it was told that it may reboot, whatever it was offered.
  const reboots = held && wordsOf(held).find((word) => word !== "Omaha");
  const state =
    reboots !== undefined || (update === undefined && held !== undefined)
      ? "Rebooting"
      : update !== undefined
        ? STATES[update.state]
        : failed.length > 0
          ? "Failed"
          : "Idle";
  const told =
    update === undefined
      ? { reason: why?.reason ?? "", message: why?.message ?? "" }
      : ofUpdate(update, held !== undefined, isBarred);
  return {
    ...{ uid, name: machine.alias === "" ? machine.id : machine.alias, group: machine.group },
    ...{ version: machine.version, target: update?.version ?? "", state, ...told },
    since: (reboots === undefined ? update?.at : undefined) ?? held?.grant.at ?? why?.since,
    ...{ lastSeen, slot: held !== undefined, budgets: held?.grant.budgets ?? [] },
    protocol: reboots ?? "Omaha",
    failed: failed.map(({ release, code, at }) => ({
      ...{ release, at, reason: "Failed", message: `It ended with the code ${code} of Omaha.` },
    })),
  };
}

/** Why it was refused before counts no more. */
function ofUpdate(
  { release, state }: NonNullable<ForeignMachine["update"]>,
  isHolder: boolean,
  isBarred: boolean,
): { reason: string; message: string } {
  const offered = `It was offered ${release} (${state})`;
  if (isHolder) return { reason: "", message: `${offered}.` };
  if (!isBarred) return { reason: "", message: `${offered}, and holds no slot.` };
  const message = `${offered}, which is quarantined since: it gets no slot to come up with it.`;
  return { reason: "ReleaseQuarantined", message };
}

function ofHolder({ grant, phase }: LiveGrant): ForeignShown {
  const { protocol = "", reason } = grant.foreign ?? {};
  return {
    ...{ uid: grant.uid, name: grant.node, group: grant.group, version: "", target: "" },
    ...{ state: "Rebooting", reason: phase.reason ?? "", slot: true },
    message:
      reason === undefined
        ? `It holds a slot, which it asked for by ${protocol}.`
        : `It holds a slot, which a person took for it: ${reason}.`,
    ...{ since: grant.at, lastSeen: undefined, budgets: grant.budgets, protocol, failed: [] },
  };
}
