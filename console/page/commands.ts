/** The kubectl command behind each number that the contract gives none for. */
import { machineCommands, quoted } from "../commands.ts";

export const commands = {
  group: (name: string, field: string): string =>
    `kubectl get updategroup ${name} -o jsonpath='{.status.${field}}'`,
  stage: (group: string, stage: string, field: "size" | "verified"): string =>
    `kubectl get updategroup ${group} -o jsonpath='{.status.stages[?(@.name=="${stage}")].${field}}'`,
  release: (name: string, field: "running" | "failed"): string =>
    `kubectl get release ${name} -o jsonpath='{.status.${field}}'`,
  machines: machineCommands.withAgent,
  /** How many machines with our agent have one of `values` there. */
  machinesWith: (field: "step" | "zone", values: readonly string[], group?: string): string =>
    `${machineCommands.withAgent(group)} --no-headers -o custom-columns=V:.status.${field} | grep -cxE ${quoted(values.join("|"))}`,
  foreign: machineCommands.foreign,
  machineCount: (): string => "kubectl get nodeupdates --no-headers | wc -l",
};
