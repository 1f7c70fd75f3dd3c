/**
 * The answer of an Omaha server to an update check. Strict in what is used of it, tolerant of what is not: other servers
 * have attributes and elements of their own. Each hash is read in the encoding that its attribute has, and where two
 * speak of the same file they must agree.
 */
import { type Element, element, list, parseRoot, text, XmlError } from "./xml.ts";

/** Several where the server sends intermediate versions at once: Nebraska at most five and the target. */
const MAX_MANIFESTS = 16;
const MAX_URLS = 16;
const MAX_URL = 2048;
/** A brace would be a place of ours. */
const CODEBASE = /^https?:\/\/[^\s{}]+$/;
/** The payload, and one for each OEM and extension. */
const MAX_PACKAGES = 65;

export interface AnsweredPackage {
  name: string;
  /** Bytes. */
  size: number;
  /** Lower-case hex. */
  sha256: string;
}

export interface AnsweredManifest {
  version: string;
  payload: AnsweredPackage;
  extras: AnsweredPackage[];
  /** Nothing lies behind it; servers that don't say so leave it open. */
  target: boolean;
}

export type OmahaReply =
  | { is: "nothing" }
  | { is: "update"; codebases: string[]; manifests: AnsweredManifest[] }
  /** The server's own word for why not. */
  | { is: "refused"; because: string };

/** What is wrong with an answer, as a sentence without a full stop. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

export function readAnswer(xml: string): OmahaReply {
  let response: Element | undefined;
  try {
    response = parseRoot(xml, "response");
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    throw new AnswerError(`the answer is no XML that is read here: ${error.message}`);
  }
  if (response === undefined) throw new AnswerError("the answer is no Omaha response");
  const [app] = list(response["app"]);
  if (app === undefined) throw new AnswerError("the answer names no app");
  const refusal = text(app.$?.["status"]);
  if (refusal !== "" && refusal !== "ok") return { is: "refused", because: refusal };
  if (!("updatecheck" in app)) throw new AnswerError("the answer has no updatecheck");
  const check = element(app["updatecheck"]);
  const status = text(check.$?.["status"]);
  if (status === "noupdate") return { is: "nothing" };
  if (status !== "ok") return { is: "refused", because: status === "" ? "no status" : status };
  const codebases = list(element(check["urls"])["url"]).map(({ $ }) => text($?.["codebase"], MAX_URL + 1));
  if (
    codebases.length === 0 ||
    codebases.length > MAX_URLS ||
    codebases.some((url) => !CODEBASE.test(url) || url.length > MAX_URL)
  )
    throw new AnswerError(`the answer names ${codebases.length} URLs, or one that leads to no folder`);
  const manifests = list(check["manifest"]);
  if (manifests.length === 0 || manifests.length > MAX_MANIFESTS)
    throw new AnswerError(`the answer has ${manifests.length} manifests, of 1 to ${MAX_MANIFESTS}`);
  return { is: "update", codebases, manifests: manifests.map(manifestOf) };
}

function manifestOf(manifest: Element): AnsweredManifest {
  const version = text(manifest.$?.["version"]);
  const packages = list(element(manifest["packages"])["package"]);
  const [first, ...others] = packages;
  if (version === "" || first === undefined)
    throw new AnswerError("a manifest has no version, or no package");
  if (packages.length > MAX_PACKAGES)
    throw new AnswerError(`a manifest has more than ${MAX_PACKAGES} packages`);
  const action = list(element(manifest["actions"])["action"]).find(({ $ }) => $?.["event"] === "postinstall");
  return {
    version,
    payload: packageOf(first, text(action?.$?.["sha256"])),
    extras: others.map((one) => packageOf(one, "")),
    target: manifest.$?.["is_target"] === "true",
  };
}

/** `base64`: the hash of the action, which speaks of the first package. */
function packageOf({ $ = {} }: Element, base64: string): AnsweredPackage {
  const name = text($["name"]);
  const size = Number(/^\d{1,15}$/.test($["size"] ?? "") ? $["size"] : Number.NaN);
  if (name === "" || !(size > 0)) throw new AnswerError(`a package has no name, or no size: ${name}`);
  const hex = text($["hash_sha256"]).toLowerCase();
  const bytes = Buffer.from(base64, "base64");
  if (base64 !== "" && (bytes.length !== 32 || bytes.toString("base64") !== base64))
    throw new AnswerError(`the sha256 of ${name} is no SHA-256 in base64`);
  if (hex !== "" && !/^[0-9a-f]{64}$/.test(hex))
    throw new AnswerError(`the hash_sha256 of ${name} is no SHA-256 in hex`);
  const said = base64 === "" ? hex : bytes.toString("hex");
  if (said === "") throw new AnswerError(`package ${name} has no SHA-256`);
  if (hex !== "" && said !== hex) throw new AnswerError(`the two hashes of ${name} differ`);
  return { name, size, sha256: said };
}
