/** Records for the tests: valid, and with nothing that a test does not ask for. */
import type { GroupGate } from "./records.ts";

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
