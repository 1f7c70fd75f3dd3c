/**
 * What counts as too many down at once: a disruption of ours that began while the limit was
 * already reached by outages that had begun before (design, section 9).
 */
import type { Outage } from "../../hack/cluster/observer.ts";

export interface Limits {
  total: number;
  perZone: number;
}

/**
 * Milliseconds for which a gate is valid (design, rule 1): what fails by itself may be
 * unknown for so long. Outages of ours are known at once.
 */
const KNOWN_AFTER = 30_000;

/** One sentence for each disruption that should not have begun. */
export function breaches(outages: readonly Outage[], limits: Limits): string[] {
  return outages.filter(isOurs).flatMap((outage) => {
    const before = outages.filter(
      (other) => other !== outage && isBefore(other, outage) && wasKnown(other, outage),
    );
    const inZone = before.filter(({ zone }) => zone === outage.zone);
    const names = (those: readonly Outage[]): string => those.map(({ machine }) => machine).join(", ");
    const when = new Date(outage.from).toISOString();
    return [
      ...(before.length < limits.total
        ? []
        : [`${outage.machine} went down at ${when} while ${names(before)} were down`]),
      ...(inZone.length < limits.perZone
        ? []
        : [`${outage.machine} went down at ${when} while ${names(inZone)} of ${outage.zone} were down`]),
    ];
  });
}

/** All but a power cut: also a dead man's reset or a panic follows from an update. */
function isOurs({ cause }: Outage): boolean {
  return cause !== "power";
}

function isBefore(other: Outage, outage: Outage): boolean {
  // Of two in the same millisecond, one began first.
  const first = other.from < outage.from || (other.from === outage.from && other.machine < outage.machine);
  return first && outage.from < other.to;
}

function wasKnown(other: Outage, outage: Outage): boolean {
  return isOurs(other) || other.from + KNOWN_AFTER <= outage.from;
}
