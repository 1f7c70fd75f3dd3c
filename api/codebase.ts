/** Where the payloads of a release for Omaha lie, as a Release says it: a URL with places for what differs between releases. */

/** A folder's URL; `{gateway}` at its beginning stands for the gateway that answers. */
export const CODEBASE = /^(https?:\/\/|\{gateway\}\/)([^\s{}]|\{(version|architecture|name)\})+$/;

export interface CodebasePlace {
  /** Base of the URLs that this gateway is reached by, without a slash at its end; absent where nobody told it. */
  gateway: string | undefined;
  version: string;
  architecture: string;
  /** Of the Release. */
  name: string;
}

/** The URL; undefined where it needs the gateway's and there is none. */
export function expandCodebase(codebase: string, place: CodebasePlace): string | undefined {
  if (codebase.startsWith("{gateway}") && place.gateway === undefined) return undefined;
  const { version, architecture, name, gateway = "" } = place;
  const values: Readonly<Record<string, string>> = { version, architecture, name, gateway };
  return codebase.replaceAll(/\{(\w+)\}/g, (whole, key: string) => values[key] ?? whole);
}
