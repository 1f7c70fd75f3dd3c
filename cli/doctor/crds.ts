/** Whether the CRDs in the cluster are those that this build knows. */
import { crd } from "../../api/crd.ts";
import { kinds } from "../../api/kinds.ts";
import { VERSION } from "../../api/meta.ts";
import { names } from "../explain/words.ts";
import type { Crd, DoctorFacts } from "./facts.ts";
import { fail, type Line, ok, unread, warn } from "./line.ts";

const APPLY =
  "apply the CRDs of this version: `kubectl apply --server-side --force-conflicts -f crds/`, or upgrade the chart";

export function checkCrds({ crds }: DoctorFacts): Line[] {
  const check = "crds";
  if (typeof crds === "string") return [unread(check, crds)];
  const lines: Line[] = [];
  const newer: string[] = [];
  for (const kind of kinds) {
    const name = `${kind.plural}.${kind.group}`;
    const found = crds.find(({ metadata }) => metadata.name === name);
    if (found === undefined) {
      lines.push(fail(check, `there is no CustomResourceDefinition ${name}`, APPLY));
      continue;
    }
    const established = found.status?.conditions?.find(({ type }) => type === "Established");
    if (established !== undefined && established.status !== "True") {
      lines.push(
        fail(
          check,
          `${name} is not established: ${established.message ?? "no cause given"}`,
          `kubectl describe crd ${name}`,
        ),
      );
    }
    const there = fieldsOf(found);
    if (there === undefined) {
      lines.push(fail(check, `${name} does not serve ${VERSION}`, APPLY));
      continue;
    }
    const known = fieldsOf(crd(kind) as Crd) ?? new Set();
    const missing = [...known].filter((field) => !there.has(field));
    if (missing.length > 0) {
      lines.push(fail(check, `${name} is older than this build: it lacks ${names(missing, 5)}`, APPLY));
    }
    if ([...there].some((field) => !known.has(field))) newer.push(name);
  }
  if (newer.length > 0) {
    lines.push(
      warn(
        check,
        `${names(newer, 6)} ${newer.length === 1 ? "is" : "are"} newer than this plugin`,
        "use the plugin of the installed version",
      ),
    );
  }
  return lines.length > 0
    ? lines
    : [ok(check, `all ${kinds.length} kinds are there, as this build knows them`)];
}

/** Paths of all fields, `spec.drain.timeout`; undefined where our version is not served. */
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
