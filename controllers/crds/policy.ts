/**
 * Whether the CustomResourceDefinitions are those that this manager can work with. A field that they lack is a
 * write that the API server refuses, half-way through an update: so a manager that is newer
 * does not lead. What they have beyond is not touched, and does no harm.
 */
import { type Crd, compareFields, crdName } from "../../api/crd-fields.ts";
import type { Kind } from "../../api/kind.ts";
import { VERSION } from "../../api/meta.ts";

/** Fields that a sentence names. */
const NAMED = 3;
const MEND = "apply the CRDs of this version (helm upgrade does), and it goes on by itself";

/** What keeps the manager from leading, in one sentence; undefined where nothing does. `found`: by name, as far as they exist. */
export function crdsRefusal(kinds: readonly Kind[], found: ReadonlyMap<string, Crd>): string | undefined {
  for (const kind of kinds) {
    const name = crdName(kind);
    const crd = found.get(name);
    if (crd === undefined) return `There is no CustomResourceDefinition ${name}: ${MEND}.`;
    const fields = compareFields(kind, crd);
    if (fields === undefined) return `CustomResourceDefinition ${name} does not serve ${VERSION}: ${MEND}.`;
    const { missing } = fields;
    if (missing.length === 0) continue;
    const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : "";
    return `CustomResourceDefinition ${name} is older than this manager, for it lacks ${missing.slice(0, NAMED).join(", ")}${more}: ${MEND}.`;
  }
  return undefined;
}
