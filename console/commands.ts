/** Commands for a shell that the page and the JSON API both give. */

/** As api/labels.ts has it, which would bring more than this line into the page. */
const GROUP_LABEL = "slipway.dev/group";

export function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Quoted where it must be. A group may be of an address that somebody else wrote, and is copied with the command. */
export function word(text: string): string {
  return /^[\w.=/-]+$/.test(text) ? text : quoted(text);
}

export const machineCommands = {
  withAgent: (group?: string): string =>
    group === undefined
      ? "kubectl get nodeupdates"
      : `kubectl get nodeupdates -l ${word(`${GROUP_LABEL}=${group}`)}`,
  /** Of a machine that calls itself `id`, which may be `--help`. */
  why: (id: string): string => `kubectl slipway why ${id.startsWith("-") ? "-- " : ""}${word(id)}`,
  /** Whatever they run, or `version`. */
  foreign: (group?: string, version?: string): string =>
    [
      "kubectl slipway machines --kind foreign",
      ...(group === undefined ? [] : [`--group ${word(group)}`]),
      ...(version === undefined ? [] : [`--running ${word(version)}`]),
    ].join(" "),
};
