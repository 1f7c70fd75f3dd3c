/** What a certificate is good for, in place of a secret. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { certificateOf, MachineCredentials } from "./machine-credentials.ts";

const credentials = new MachineCredentials([]);
const accepts = (subject: Record<string, string | string[]>, group: string, machine?: string): boolean =>
  credentials.accepts({ certificate: certificateOf(subject) }, group, machine);

it("serves the groups that it names, and of their machines its own", () => {
  const own = { O: ["workers", "registry/fleet"], CN: "rack-7" };
  expect(accepts(own, "workers", "rack-7")).toBe(true);
  expect(accepts(own, "workers", "rack-8")).toBe(false);
  expect(accepts(own, "edge", "rack-7")).toBe(false);
  expect(accepts({ O: "workers" }, "workers", "rack-8")).toBe(true);
});

it("serves whatever machine has it, where no machine is asked for", () => {
  expect(accepts({ O: "registry/fleet", CN: "rack-7" }, "registry/fleet")).toBe(true);
});

it("serves nobody that it does not name, whatever else is in it", () => {
  expect(accepts({}, "workers", "rack-7")).toBe(false);
  expect(accepts({ CN: "rack-7", OU: "workers" }, "workers", "rack-7")).toBe(false);
  expect(accepts({ O: "workers", CN: ["rack-7", "rack-8"] }, "workers", "rack-7")).toBe(false);
  const word = fc.constantFrom("", "workers", "workers ", "Workers", "rack-7", "registry/fleet");
  fc.assert(
    fc.property(word, word, word, word, (named, machine, group, id) => {
      const accepted = accepts({ O: named, CN: machine }, group, id);
      expect(accepted).toBe(named === group && machine === id);
    }),
  );
});
