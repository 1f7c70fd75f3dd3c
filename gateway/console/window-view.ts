/** RebootWindows, the next openings of groups, and who holds which slot, as the console shows them. */
import type { Lock } from "../../api/locks.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { openingsOf, windowsOf } from "../../api/openings.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type * as view from "../../console/contract.ts";
import { uidOf } from "../../console/machine.ts";
import { refusedOf } from "./group-view.ts";

/** Of those that wait for one budget: as many as a person reads, because they are sent anew whenever one of them goes. */
const SHOWN_QUEUE = 8;

export function viewWindow(window: RebootWindow, groups: readonly UpdateGroup[]): view.Window {
  const { metadata, spec, status } = window;
  return {
    name: metadata.name,
    mode: spec.mode,
    start: spec.start,
    duration: spec.duration,
    timeZone: spec.timeZone,
    open: status?.open ?? false,
    closesAt: status?.closesAt,
    openings: (status?.nextOpenings ?? []).map(({ start, end }) => ({ start, end })),
    groups: groups
      .filter((group) => windowsOf(group, [window]).length > 0)
      .map((group) => group.metadata.name)
      .toSorted(),
    refused: refusedOf(status),
    kubectl: `kubectl get rebootwindow ${metadata.name} -o yaml`,
  };
}

/** `now`: wall clock, ms. */
export function viewOpenings(
  group: UpdateGroup,
  windows: readonly RebootWindow[],
  now: number,
): view.GroupOpenings {
  const { name } = group.metadata;
  const openings = openingsOf(group, windows, now);
  return {
    group: name,
    always: group.spec.windows === "Always",
    openings: openings.map(({ start, end, windows: by }) => ({
      start: timestamp(start),
      end: end === null ? undefined : timestamp(end),
      windows: [...by],
    })),
    note: noteOf(group, windowsOf(group, windows), openings.length),
    kubectl: `kubectl slipway windows next ${name}`,
  };
}

function noteOf(group: UpdateGroup, bound: readonly RebootWindow[], openings: number): string {
  const unread = bound.find(({ status }) => refusedOf(status) !== undefined);
  if (unread !== undefined) return `RebootWindow ${unread.metadata.name} can't be acted on.`;
  const freeze = bound.find(({ spec, status }) => spec.mode === "Deny" && status?.open === true);
  if (freeze !== undefined) return `The change freeze ${freeze.metadata.name} lasts.`;
  if (group.spec.windows === "Always") return "It needs no window.";
  if (!bound.some(({ spec }) => spec.mode === "Allow")) return "No RebootWindow of mode Allow selects it.";
  return openings === 0 ? "No opening is in sight." : "";
}

/** `foreign`: uids of machines without our agent that hold slots, by the name of the holder. */
export function viewBudget(
  { budget, limit, unavailable, holders, waiting, line, inLine = 0 }: Lock,
  byName: ReadonlyMap<string, NodeUpdate>,
  foreign: ReadonlyMap<string, string>,
): view.Budget {
  const uid = (name: string): string | undefined => {
    const update = byName.get(name);
    return update === undefined ? foreign.get(name) : uidOf(update);
  };
  const nodes = waiting
    .map((machine) => ({ machine, uid: uid(machine), since: byName.get(machine)?.status?.since }))
    .toSorted((a, b) => compare(a.machine, b.machine));
  const others = line.map(({ machine, uid: of, since, protocol }) => ({ machine, uid: of, since, protocol }));
  // Who waits since the same second stays in the order of the line.
  const queue = [...nodes, ...others].toSorted((a, b) => compare(a.since ?? "9", b.since ?? "9"));
  return {
    name: budget,
    limit,
    unavailable,
    holders: holders.map(({ node, phase, since, step }) => ({
      ...{ machine: node, uid: uid(node), phase, since, suspect: step === "Suspect" },
    })),
    queue: queue.slice(0, SHOWN_QUEUE),
    waiting: waiting.length + inLine,
    kubectl: "kubectl slipway locks list",
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
