/** What a CustomResourceDefinition in a cluster lacks of what this build knows, and what it has beyond. */
import { crd } from "./crd.ts";
import type { Kind } from "./kind.ts";
import { type KubeObject, VERSION } from "./meta.ts";

/** As far as it is read. */
export interface Crd extends KubeObject {
  spec: {
    group: string;
    names: { kind: string };
    versions: { name: string; served: boolean; schema?: { openAPIV3Schema?: unknown } }[];
  };
  status?: { conditions?: { type: string; status: string; message?: string }[] };
}

/** `plural.group`: the name of the kind's CustomResourceDefinition. */
export function crdName({ plural, group }: Pick<Kind, "plural" | "group">): string {
  return `${plural}.${group}`;
}

/**
 * Paths of fields (`spec.drain.timeout`) that `found` lacks, or has although this build doesn't
 * know them; undefined where it does not serve our version.
 */
export function compareFields(kind: Kind, found: Crd): { missing: string[]; unknown: string[] } | undefined {
  const there = fieldsOf(found);
  if (there === undefined) return undefined;
  const known = fieldsOf(crd(kind) as Crd) ?? new Set<string>();
  return { missing: [...known.difference(there)], unknown: [...there.difference(known)] };
}

function fieldsOf({ spec }: Crd): Set<string> | undefined {
  const version = spec.versions.find(({ name, served }) => name === VERSION && served);
  if (version === undefined) return undefined;
  const fields = new Set<string>();
  const walk = (schema: unknown, path: string): void => {
    const { properties = {}, items } = (schema ?? {}) as {
      properties?: Record<string, unknown>;
      items?: unknown;
    };
    if (items !== undefined) walk(items, path);
    for (const [name, child] of Object.entries(properties)) {
      const here = path === "" ? name : `${path}.${name}`;
      fields.add(here);
      walk(child, here);
    }
  };
  walk(version.schema?.openAPIV3Schema, "");
  return fields;
}
