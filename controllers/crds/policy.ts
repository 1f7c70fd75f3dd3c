/**
 * Whether the CustomResourceDefinitions are those that this manager can work with. A field of ours that they
 * lack is one that the API server drops or refuses, half-way through an update: so a manager that is newer
 * does not lead. A field of people's specs that they lack is one that nobody can have set, and what
 * they have beyond is not touched: neither does harm.
 */
import { type Crd, compareFields, crdName } from "../../api/crd-fields.ts";
import type { Kind } from "../../api/kind.ts";
import { VERSION } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";

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
    const missing = fields.missing.filter((path) => kind === nodeUpdate || /^status(\.|$)/.test(path));
    if (missing.length === 0) continue;
    const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : "";
    return `CustomResourceDefinition ${name} is older than this manager, for it lacks ${missing.slice(0, NAMED).join(", ")}${more}: ${MEND}.`;
  }
  return undefined;
}
