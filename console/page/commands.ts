/** The kubectl command behind each number that the contract gives none for. */

/** As api/labels.ts has it, which would bring more than this line into the page. */
const GROUP_LABEL = "slipway.dev/group";

/** For a shell. A group may be of an address that somebody else wrote, and is copied with the command. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const word = (text: string): string => (/^[\w.=/-]*$/.test(text) ? text : quoted(text));

export const commands = {
  group: (name: string, field: string): string =>
    `kubectl get updategroup ${name} -o jsonpath='{.status.${field}}'`,
  stage: (group: string, stage: string, field: "size" | "verified"): string =>
    `kubectl get updategroup ${group} -o jsonpath='{.status.stages[?(@.name=="${stage}")].${field}}'`,
  release: (name: string, field: "running" | "failed"): string =>
    `kubectl get release ${name} -o jsonpath='{.status.${field}}'`,
  machines: (group?: string): string =>
    group === undefined
      ? "kubectl get nodeupdates"
      : `kubectl get nodeupdates -l ${word(`${GROUP_LABEL}=${group}`)}`,
  /** How many machines with our agent have one of `values` there. */
  machinesWith: (field: "step" | "zone", values: readonly string[], group?: string): string =>
    `${commands.machines(group)} --no-headers -o custom-columns=V:.status.${field} | grep -cxE ${quoted(values.join("|"))}`,
  /** Those without our agent, whatever they run or `version`. */
  foreign: (group: string, version?: string): string =>
    `kubectl slipway machines --kind foreign --group ${word(group)}${version === undefined ? "" : ` --running ${word(version)}`}`,
  machineCount: (): string => "kubectl get nodeupdates --no-headers | wc -l",
};
