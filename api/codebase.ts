/** Where the payloads of a release for Omaha lie, as a Release says it: a URL with places for what differs between releases. */
import * as z from "zod";
import { form } from "./rules.ts";

/** URLs of folders; `{gateway}` at the beginning of one stands for the gateway that answers. */
export const Codebases = z
  .array(
    z
      .string()
      .min(8)
      .max(2048)
      .regex(/^(https?:\/\/|\{gateway\}\/)([^\s{}]|\{(version|architecture|name)\})+$/)
      .meta(
        form(
          "must be a URL that starts with http://, https:// or {gateway}/, and may have {version}, {architecture} and {name}",
        ),
      ),
  )
  .min(1)
  .max(16);

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
