/**
 * XML as Omaha has it, from peers that nobody trusts: no declarations, no entities of a document's own, a bounded depth.
 * Both sides of the protocol read it so: a gateway the requests of machines, a manager the answers of other servers.
 */
import { XMLParser } from "fast-xml-parser";

/** Longest attribute that is kept; a MACHINE_ALIAS is free text. */
const MAX_TEXT = 256;
/** Nesting: request, app, event is 3, response to package is 6; the extensions of others go a little deeper. */
const MAX_DEPTH = 8;

/** What is wrong with a document, as a clause. */
export class XmlError extends Error {
  override readonly name = "XmlError";
}

export type Element = { [name: string]: unknown; $?: Record<string, string> };

/** Elements that may stand several times. */
const LISTS = ["app", "event", "url", "manifest", "package", "action"];

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  attributesGroupName: "$",
  parseAttributeValue: false,
  parseTagValue: false,
  // Those of a document may grow without end; the five of XML are read below.
  processEntities: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
  isArray: (name) => LISTS.includes(name),
});

/** The one element of a document, which is named `root`. Throws `XmlError`; undefined where the root is another. */
export function parseRoot(xml: string, root: "request" | "response"): Element | undefined {
  // What a document type declares is never needed, and may grow without end.
  if (xml.includes("<!")) throw new XmlError("declarations, comments and CDATA are not read here");
  if (!xml.trimEnd().endsWith(`</${root}>`) && !new RegExp(`<${root}\\b[^<]*/>\\s*$`).test(xml))
    throw new XmlError(`it does not end with </${root}>`);
  if (depthOf(xml) > MAX_DEPTH) throw new XmlError(`elements lie deeper than ${MAX_DEPTH}`);
  let document: Record<string, unknown>;
  try {
    document = parser.parse(xml) as Record<string, unknown>;
  } catch (error) {
    throw new XmlError(`it can't be read: ${error instanceof Error ? error.message : ""}`);
  }
  const { [root]: found, ...others } = document;
  const one = typeof found === "object" && found !== null && !Array.isArray(found);
  return one && Object.keys(others).length === 0 ? (found as Element) : undefined;
}

/** Of the deepest element; Infinity where more end than begin, or some never end. */
function depthOf(xml: string): number {
  let [depth, deepest] = [0, 0];
  for (const [tag] of xml.matchAll(/<[^?>][^>]*>/g)) {
    if (tag.startsWith("</")) depth -= 1;
    else if (!tag.endsWith("/>")) deepest = Math.max(deepest, (depth += 1));
    if (depth < 0) return Number.POSITIVE_INFINITY;
  }
  return depth === 0 ? deepest : Number.POSITIVE_INFINITY;
}

/** An element, or nothing where it is absent or holds text alone. */
export function element(value: unknown): Element {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === "object" && one !== null ? (one as Element) : {};
}

export function list(value: unknown): Element[] {
  return Array.isArray(value) ? value.map(element) : [];
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

const CONTROL = /\p{Cc}/u;

/** Of an attribute: its entities read, control characters and what is too long left out. */
export function text(value: string | undefined, most = MAX_TEXT): string {
  if (value === undefined) return "";
  const read = value.includes("&")
    ? value.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{2,4}));/g, (all, decimal, hex, name) => {
        if (name !== undefined) return ENTITIES[name as string] ?? all;
        const point = decimal === undefined ? Number.parseInt(hex as string, 16) : Number(decimal);
        return point <= 0x10_ff_ff ? String.fromCodePoint(point) : "";
      })
    : value;
  return (CONTROL.test(read) ? read.replaceAll(/\p{Cc}/gu, "") : read).slice(0, most);
}
