/** The reference page of the metrics, from the registries of the processes. */
import type { EtcdPort } from "../../coordination/etcd.ts";
import { type Role, registries } from "./registries.ts";

const HEADER = "<!-- Generated from the processes' registries by `npm run generate`: do not edit. -->\n";
const ROLES: readonly Role[] = ["manager", "gateway", "agent"];
/** Asked nothing: only what meters its calls is looked at. */
const NOBODY = {} as EtcdPort;

/** What prom-client keeps of a metric and does not declare. */
interface Known {
  name: string;
  help: string;
  labelNames?: readonly string[];
}

/** Names of the labels that a metric of `registry` may have. */
interface Row {
  help: string;
  type: string;
  labels: readonly string[];
  roles: Role[];
}

export async function metricsPage(): Promise<string> {
  const rows = new Map<string, Row>();
  const { of, end } = await registries(NOBODY);
  try {
    for (const role of ROLES) {
      const types = new Map(
        [...(await of[role].metrics()).matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [
          name,
          type,
        ]),
      );
      for (const { name, help, labelNames = [] } of of[role].getMetricsAsArray() as unknown as Known[]) {
        const known = rows.get(name);
        if (known === undefined)
          rows.set(name, { help, type: types.get(name) ?? "", labels: labelNames, roles: [role] });
        else known.roles.push(role);
      }
    }
  } finally {
    end();
  }
  const lines = [...rows]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, { help, type, labels, roles }]) =>
        `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${roles.join(", ")} | ${help.replaceAll("|", "\\|")} |`,
    );
  return `${[
    HEADER,
    "# Metrics",
    "",
    "Each process answers `/metrics` on the address of its `--metrics`. No label is a node's name. Both managers tell what the API server says, and what etcd says the leader alone: take the maximum over them.",
    "",
    "| metric | type | labels | told by | what it says |",
    "|---|---|---|---|---|",
    ...lines,
  ].join("\n")}\n`;
}
