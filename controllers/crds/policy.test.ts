import { expect, test } from "vitest";
import { crd } from "../../api/crd.ts";
import { type Crd, crdName } from "../../api/crd-fields.ts";
import type { Kind } from "../../api/kind.ts";
import { kinds } from "../../api/kinds.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { updateGroup } from "../../api/update-group.ts";
import { crdsRefusal } from "./policy.ts";

type Schema = { properties: Record<string, Schema> };

/** Those of this build, with a change of one. */
function cluster(
  change: (schema: Schema, crd: Crd) => void = () => {},
  kind: Kind = nodeUpdate,
): Map<string, Crd> {
  const found = new Map(kinds.map((each) => [crdName(each), structuredClone(crd(each)) as Crd]));
  const changed = found.get(crdName(kind));
  const schema = changed?.spec.versions[0]?.schema?.openAPIV3Schema;
  if (changed !== undefined) change(schema as Schema, changed);
  return found;
}

const grant = (schema: Schema) => schema.properties["status"]?.properties["grant"]?.properties ?? {};

test("those of this build, and newer ones, let it lead", () => {
  expect(crdsRefusal(kinds, cluster())).toBeUndefined();
  const newer = cluster((schema) => {
    grant(schema)["berth"] = { properties: {} };
  });
  expect(crdsRefusal(kinds, newer)).toBeUndefined();
});

test("older ones don't, and the sentence names the field", () => {
  const older = cluster((schema) => {
    delete grant(schema)["nonce"];
  });
  expect(crdsRefusal(kinds, older)).toBe(
    "CustomResourceDefinition nodeupdates.slipway.dev is older than this manager, for it lacks status.grant.nonce: apply the CRDs of this version (helm upgrade does), and it goes on by itself.",
  );
  const much = cluster((schema) => {
    delete schema.properties["status"];
  });
  expect(crdsRefusal(kinds, much)).toMatch(/lacks status, status\.\S+, status\.\S+ and \d+ more: apply/);
});

test("what only people write may be missing, what the manager writes may not", () => {
  const without = (field: "spec" | "status", name: string) =>
    cluster((schema) => {
      delete schema.properties[field]?.properties[name];
    }, updateGroup);
  expect(crdsRefusal(kinds, without("spec", "hooks"))).toBeUndefined();
  expect(crdsRefusal(kinds, without("status", "failures"))).toMatch(
    /updategroups\.slipway\.dev is older than this manager, for it lacks status\.failures/,
  );
  const machineless = cluster((schema) => {
    delete schema.properties["spec"]?.properties["machineRef"];
  });
  expect(crdsRefusal(kinds, machineless)).toMatch(/lacks spec\.machineRef/);
});

test("one that is missing, or that serves another version only, is named", () => {
  const some = cluster();
  some.delete("channels.slipway.dev");
  expect(crdsRefusal(kinds, some)).toMatch(/^There is no CustomResourceDefinition channels\.slipway\.dev: /);
  const other = cluster((_, { spec }) => {
    for (const version of spec.versions) version.name = "v1";
  });
  expect(crdsRefusal(kinds, other)).toMatch(/nodeupdates\.slipway\.dev does not serve v1alpha1: /);
});
