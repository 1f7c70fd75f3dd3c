/**
 * An Omaha v3 request as update_engine and its relatives send it (google/omaha doc/ServerProtocolV3.md; the dialect of
 * CoreOS and Flatcar). Attributes and elements that we don't know are allowed by the protocol: they are counted.
 */
import { isUtf8 } from "node:buffer";
import { XMLParser } from "fast-xml-parser";

/** Of update_engine one `<app>` and an event or two; others may send more. */
const MAX_APPS = 16;
const MAX_EVENTS = 32;
/** Longest attribute that is kept; a MACHINE_ALIAS is free text. Machine ids have 32 characters, or 38 with braces. */
const MAX_TEXT = 256;
const MAX_ID = 50;
/** Nesting: request, app, event is 3; the extensions of others go a little deeper. */
const MAX_DEPTH = 8;

export interface OmahaEvent {
  type: number;
  result: number;
  /** As it was sent, with the flags of update_engine in its high bits. */
  errorCode: number;
  /** Absent where the attribute is. */
  previousVersion: string | undefined;
}

export interface OmahaApp {
  /** As it was sent: the answer repeats it. */
  sentId: string;
  /** Lower-case, without braces: what it is compared by. */
  id: string;
  version: string;
  track: string;
  fromTrack: string;
  bootId: string;
  oem: string;
  oemVersion: string;
  alephVersion: string;
  /** Lower-case, without braces; "" where none was sent. */
  machineId: string;
  alias: string;
  board: string;
  ping: boolean;
  check: boolean;
  events: OmahaEvent[];
}

export interface OmahaRequest {
  /** Name and version of the updater. */
  updater: string;
  /** A person asked on the machine itself: stages and rate are passed over. */
  onDemand: boolean;
  osVersion: string;
  platform: string;
  apps: OmahaApp[];
  /** Attributes and elements that we don't know. */
  unknown: number;
}

/** What a client is told, with the status 400: its request can't be acted on, and would not be if sent again. */
export class OmahaError extends Error {
  readonly code: "NotXml" | "NotOmaha" | "TooLarge";

  constructor(code: OmahaError["code"], message: string) {
    super(message);
    this.name = "OmahaError";
    this.code = code;
  }
}

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
  isArray: (name) => name === "app" || name === "event",
});

type Element = { [name: string]: unknown; $?: Record<string, string> };

const KNOWN: Readonly<Record<string, readonly string[]>> = {
  request: ["protocol", "version", "updaterversion", "installsource", "ismachine"],
  os: ["version", "platform", "sp", "arch"],
  app: [
    ...[
      "appid",
      "version",
      "track",
      "from_track",
      "bootid",
      "oem",
      "oemversion",
      "alephversion",
      "machineid",
    ],
    ...["machinealias", "lang", "board", "hardware_class", "delta_okay", "multi_manifest_ok"],
  ],
  event: ["eventtype", "eventresult", "errorcode", "previousversion"],
};

/** Throws `OmahaError`. */
export function parseRequest(body: Buffer): OmahaRequest {
  const root = rootOf(textOf(body));
  const { $: attributes = {}, os, app, ...others } = root;
  if (text(attributes.protocol) !== "3.0") {
    throw new OmahaError(
      "NotOmaha",
      `protocol ${JSON.stringify(text(attributes.protocol))}: 3.0 is spoken here`,
    );
  }
  const system = element(os);
  const apps = list(app);
  if (apps.length === 0) throw new OmahaError("NotOmaha", "the request names no app");
  if (apps.length > MAX_APPS) {
    throw new OmahaError("TooLarge", `the request names ${apps.length} apps, of at most ${MAX_APPS}`);
  }
  const counted = { unknown: Object.keys(others).length + strange("request", root) + strange("os", system) };
  return {
    updater: text(attributes.updaterversion ?? attributes.version),
    onDemand: attributes.installsource === "ondemandupdate",
    osVersion: text(system.$?.sp),
    platform: text(system.$?.platform),
    apps: apps.map((one) => appOf(one, counted)),
    unknown: counted.unknown,
  };
}

function appOf(app: Element, counted: { unknown: number }): OmahaApp {
  const { $: attributes = {}, ping, updatecheck, event, ...others } = app;
  const events = list(event);
  if (events.length > MAX_EVENTS) {
    throw new OmahaError("TooLarge", `an app has ${events.length} events, of at most ${MAX_EVENTS}`);
  }
  counted.unknown += Object.keys(others).length + strange("app", app);
  for (const one of events) counted.unknown += strange("event", one);
  const sentId = text(attributes.appid);
  if (sentId === "") throw new OmahaError("NotOmaha", "an app has no appid");
  const machineId = bare(text(attributes.machineid));
  if (machineId.length > MAX_ID) {
    throw new OmahaError("TooLarge", `a machineid has ${machineId.length} characters, of at most ${MAX_ID}`);
  }
  return {
    ...{ sentId, id: bare(sentId), version: text(attributes.version), track: text(attributes.track) },
    ...{ fromTrack: text(attributes.from_track), bootId: bare(text(attributes.bootid)), machineId },
    ...{ oem: text(attributes.oem), oemVersion: text(attributes.oemversion) },
    ...{ alephVersion: text(attributes.alephversion), alias: text(attributes.machinealias) },
    ...{ board: text(attributes.board), ping: ping !== undefined, check: updatecheck !== undefined },
    events: events.map(({ $: of = {} }) => ({
      type: number(of.eventtype),
      result: number(of.eventresult),
      errorCode: number(of.errorcode),
      previousVersion: of.previousversion === undefined ? undefined : text(of.previousversion),
    })),
  };
}

function textOf(body: Buffer): string {
  if (!isUtf8(body)) throw new OmahaError("NotXml", "the request is not in UTF-8");
  const xml = body.toString().replace(/^\ufeff/, "");
  // What a document type declares is never needed, and may grow without end.
  if (xml.includes("<!"))
    throw new OmahaError("NotXml", "declarations, comments and CDATA are not read here");
  const [, encoding] = /^<\?xml[^>]*\sencoding=["']([^"']*)["']/.exec(xml) ?? [];
  if (encoding !== undefined && !/^utf-?8$/i.test(encoding)) {
    throw new OmahaError(
      "NotXml",
      `the request says that it is in ${encoding.slice(0, 40)}: UTF-8 is read here`,
    );
  }
  // Clients before 2023-10 keep the quotes of their configuration: oem=""qemu"" (flatcar/update_engine db448f9).
  return xml.includes('=""') ? xml.replaceAll(/=""([^"<>=]+)""(?=[\s/>?])/g, '="$1"') : xml;
}

function rootOf(xml: string): Element {
  if (!/<\/request>\s*$/.test(xml) && !/<request\b[^<]*\/>\s*$/.test(xml)) {
    throw new OmahaError("NotXml", "the request does not end with </request>");
  }
  if (depthOf(xml) > MAX_DEPTH) throw new OmahaError("NotXml", `elements lie deeper than ${MAX_DEPTH}`);
  let document: Record<string, unknown>;
  try {
    document = parser.parse(xml) as Record<string, unknown>;
  } catch (error) {
    throw new OmahaError(
      "NotXml",
      `the request can't be read: ${error instanceof Error ? error.message : ""}`,
    );
  }
  const { request, ...others } = document;
  if (
    typeof request !== "object" ||
    request === null ||
    Array.isArray(request) ||
    Object.keys(others).length > 0
  ) {
    throw new OmahaError("NotOmaha", "one <request> is expected");
  }
  return request as Element;
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
function element(value: unknown): Element {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === "object" && one !== null ? (one as Element) : {};
}

function list(value: unknown): Element[] {
  return Array.isArray(value) ? value.map(element) : [];
}

function strange(kind: string, { $: attributes = {} }: Element): number {
  return Object.keys(attributes).filter((name) => KNOWN[kind]?.includes(name) !== true).length;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

const CONTROL = /\p{Cc}/u;

/** Of an attribute: its entities read, control characters and what is too long left out. */
function text(value: string | undefined): string {
  if (value === undefined) return "";
  const read = value.includes("&")
    ? value.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{2,4}));/g, (all, decimal, hex, name) => {
        if (name !== undefined) return ENTITIES[name as string] ?? all;
        const point = decimal === undefined ? Number.parseInt(hex as string, 16) : Number(decimal);
        return point <= 0x10_ff_ff ? String.fromCodePoint(point) : "";
      })
    : value;
  return (CONTROL.test(read) ? read.replaceAll(/\p{Cc}/gu, "") : read).slice(0, MAX_TEXT);
}

/** Signed or not, of 32 bits; 0 where it is no number, as update_engine itself reads it. */
function number(value: string | undefined): number {
  return value !== undefined && /^-?\d{1,10}$/.test(value) ? Number(value) : 0;
}

/** Braces are sent by some and left out by others. */
function bare(id: string): string {
  return id.replaceAll(/[{}]/g, "").toLowerCase();
}
