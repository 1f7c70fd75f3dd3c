/** Which machines CoreUpdate lists, and each of them once. */
import { expect, it } from "vitest";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { filterOf, instancesOf } from "./instance.ts";

const ID = "f".repeat(32);
const catalogue = { releases: [], channels: [], groups: [] };

function machine(id: string): ForeignMachine {
  return { id, product: "p", group: "g", version: "1.0.0", oem: "", lastSeen: 0, failed: [] } as never;
}

it("a machine that speaks Omaha and has our agent is one, before its agent said what it runs, too", () => {
  const spec = { group: "g", release: "r", machineRef: { machineId: ID } };
  for (const status of [undefined, { machineId: ID }]) {
    const update = { metadata: { name: "m" }, spec, status } as unknown as NodeUpdate;
    const machines = new Map([
      [ID, machine(ID)],
      ["foreign/other", machine("other")],
    ]);
    const seen = { machines, nodeUpdates: [update], asOf: 0 };
    const found = instancesOf(catalogue, seen, filterOf(new URLSearchParams()));
    expect(found.map(({ clientId }) => clientId).toSorted()).toEqual([ID, "other"]);
  }
});
