/**
 * Reads a response as update_engine and, after it, download_sysext of ue-rs do (omaha_response_handler and
 * omaha_request_action.cc of flatcar/update_engine; src/bin/download_sysext.rs): what they would do, or the code with
 * which they would fail. For tests; it knows nothing of the code that writes responses.
 */
import { XMLParser } from "fast-xml-parser";

export type Verdict =
  | { does: "nothing"; pollInterval: number | undefined }
  | {
      does: "update";
      version: string;
      urls: string[];
      size: number;
      /** base64. */
      sha256: string;
      backoff: boolean;
      extras: { name: string; sha256: string }[];
    }
  /** 31: no XML; 34: a response that is not valid. */
  | { does: "fail"; code: 31 | 34; because: string };

type Element = Record<string, unknown>;
const lists = ["url", "package", "action", "app", "event", "manifest"];
const parser = new XMLParser({
  ...{
    ignoreAttributes: false,
    attributeNamePrefix: "@",
    parseAttributeValue: false,
    ignoreDeclaration: true,
  },
  isArray: (name) => lists.includes(name),
});

/** `sysext`: whether download_sysext reads it as well, which wants a uuid for an app's id. */
export function readAsUpdateEngine(xml: string, sysext = true): Verdict {
  const invalid = (because: string): Verdict => ({ does: "fail", code: 34, because });
  let document: Element;
  try {
    document = parser.parse(xml, true) as Element;
  } catch (error) {
    return { does: "fail", code: 31, because: String(error) };
  }
  const app = many(one(document.response).app)[0] ?? {};
  if (!("updatecheck" in app)) return invalid("no /response/app/updatecheck");
  const check = one(app.updatecheck);
  const poll = check["@PollInterval"];
  if (check["@status"] === "noupdate")
    return { does: "nothing", pollInterval: poll === undefined ? undefined : Number(poll) };
  if (check["@status"] !== "ok") return invalid(`updatecheck status ${String(check["@status"])}`);
  const codebases = many(one(check.urls).url).map((url) => text(url["@codebase"]));
  if (codebases.length === 0 || codebases.includes("")) return invalid("a url without a codebase");
  const manifests = many(check.manifest);
  if (manifests.length !== 1) return invalid(`${manifests.length} manifests`);
  const [manifest = {}] = manifests;
  const packages = many(one(manifest.packages).package);
  const [first] = packages;
  const size = Number(first?.["@size"]);
  if (!first?.["@name"] || !(size > 0)) return invalid("no first package with a name and a size");
  const actions = many(one(manifest.actions).action);
  const postinstall = actions.find((action) => action["@event"] === "postinstall");
  const sha256 = text(postinstall?.["@sha256"]);
  if (Buffer.from(sha256, "base64").length !== 32 || sha256.length !== 44)
    return invalid("no postinstall with a sha256");
  const strict = sysext ? strictly(app, packages, actions) : undefined;
  if (strict !== undefined) return invalid(`download_sysext: ${strict}`);
  return {
    ...{ does: "update", version: String(manifest["@version"]), size, sha256 },
    // CoreOS' client joins the two as they are.
    urls: codebases.map((codebase) => `${codebase}${String(first["@name"])}`),
    backoff: postinstall?.["@DisablePayloadBackoff"] !== "true",
    extras: packages
      .slice(1)
      .map((extra) => ({ name: String(extra["@name"]), sha256: String(extra["@hash_sha256"]) })),
  };
}

function strictly(app: Element, packages: Element[], actions: Element[]): string | undefined {
  if (!/^\{?[0-9a-f-]{36}\}?$/i.test(String(app["@appid"]))) return "appid is no uuid";
  if (app["@status"] === undefined) return "app without status";
  for (const one of packages) {
    for (const name of ["name", "size", "required"]) {
      if (one[`@${name}`] === undefined) return `package without ${name}`;
    }
    if (!["true", "false"].includes(String(one["@required"]))) return "required is neither true nor false";
    if (!/^[0-9a-f]{64}$/.test(String(one["@hash_sha256"]))) return "hash_sha256 is not in lower-case hex";
  }
  for (const action of actions) {
    if (!["preinstall", "install", "postinstall", "update"].includes(String(action["@event"])))
      return "event of an action";
    if (Buffer.from(String(action["@sha256"]), "base64").length !== 32) return "sha256 of an action";
  }
  return undefined;
}

function one(value: unknown): Element {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Element) : {};
}

function many(value: unknown): Element[] {
  return Array.isArray(value) ? value.map(one) : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
