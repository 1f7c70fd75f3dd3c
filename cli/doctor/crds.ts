/** Whether the CRDs in the cluster are those that this build knows. */
import { compareFields, crdName } from "../../api/crd-fields.ts";
import { kinds } from "../../api/kinds.ts";
import { VERSION } from "../../api/meta.ts";
import { names } from "../explain/words.ts";
import type { DoctorFacts } from "./facts.ts";
import { fail, type Line, ok, unread, warn } from "./line.ts";

const APPLY =
  "apply the CRDs of this version: `kubectl apply --server-side --force-conflicts -f crds/`, or upgrade the chart";

export function checkCrds({ crds }: DoctorFacts): Line[] {
  const check = "crds";
  if (typeof crds === "string") return [unread(check, crds)];
  const lines: Line[] = [];
  const newer: string[] = [];
  for (const kind of kinds) {
    const name = crdName(kind);
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
    const fields = compareFields(kind, found);
    if (fields === undefined) {
      lines.push(fail(check, `${name} does not serve ${VERSION}`, APPLY));
      continue;
    }
    const { missing, unknown } = fields;
    if (missing.length > 0) {
      lines.push(fail(check, `${name} is older than this build: it lacks ${names(missing, 5)}`, APPLY));
    }
    if (unknown.length > 0) newer.push(name);
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
