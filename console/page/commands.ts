/** The kubectl command behind each number that the contract gives none for. */

export const commands = {
  group: (name: string, field: string): string =>
    `kubectl get updategroup ${name} -o jsonpath='{.status.${field}}'`,
  stage: (group: string, stage: string, field: "size" | "verified"): string =>
    `kubectl get updategroup ${group} -o jsonpath='{.status.stages[?(@.name=="${stage}")].${field}}'`,
  groups: (): string => "kubectl get updategroups",
  release: (name: string, field: "running" | "failed"): string =>
    `kubectl get release ${name} -o jsonpath='{.status.${field}}'`,
  machines: (): string => "kubectl get nodeupdates",
};
