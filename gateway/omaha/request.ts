/**
 * An Omaha v3 request as update_engine and its relatives send it (google/omaha doc/ServerProtocolV3.md; the dialect of
 * CoreOS and Flatcar). Attributes and elements that we don't know are allowed by the protocol: they are counted.
 */
import { isUtf8 } from "node:buffer";
import { FOLLOWER } from "../../proto/omaha/ask.ts";
import { type Element, element, list, parseRoot, text, XmlError } from "../../proto/omaha/xml.ts";

/** Of update_engine one `<app>` and an event or two; others may send more. */
const MAX_APPS = 16;
const MAX_EVENTS = 32;
/** Machine ids have 32 characters, or 38 with braces. */
const MAX_ID = 50;

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
  /** It is a server that follows this one, and no machine: it takes no slot, and is not counted. */
  follows: boolean;
  /** A person asked on the machine itself: stages and rate are passed over. */
  onDemand: boolean;
  osVersion: string;
  platform: string;
  apps: OmahaApp[];
  /** How many attributes and elements we don't know. */
  unknown: Unknown;
}

interface Unknown {
  attribute: number;
  element: number;
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

const ATTRIBUTES: Readonly<Record<"request" | "os" | "app" | "ping" | "updatecheck" | "event", string[]>> = {
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
  ping: ["active", "a", "r"],
  updatecheck: ["targetversionprefix"],
  event: ["eventtype", "eventresult", "errorcode", "previousversion"],
};
const ELEMENTS: Readonly<Record<string, string[]>> = {
  request: ["os", "app"],
  app: ["ping", "updatecheck", "event"],
};

/** Throws `OmahaError`. */
export function parseRequest(body: Buffer): OmahaRequest {
  const root = rootOf(textOf(body));
  const { $: attributes = {}, os, app } = root;
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
  const unknown = { attribute: 0, element: 0 };
  count("request", root, unknown);
  count("os", system, unknown);
  return {
    updater: text(attributes.updaterversion ?? attributes.version),
    follows: text(attributes.version) === FOLLOWER && attributes.installsource === "scheduler",
    onDemand: attributes.installsource === "ondemandupdate",
    osVersion: text(system.$?.sp),
    platform: text(system.$?.platform),
    apps: apps.map((one) => appOf(one, unknown)),
    unknown,
  };
}

function appOf(app: Element, unknown: Unknown): OmahaApp {
  const { $: attributes = {}, ping, updatecheck, event } = app;
  const events = list(event);
  if (events.length > MAX_EVENTS) {
    throw new OmahaError("TooLarge", `an app has ${events.length} events, of at most ${MAX_EVENTS}`);
  }
  count("app", app, unknown);
  count("ping", element(ping), unknown);
  count("updatecheck", element(updatecheck), unknown);
  for (const one of events) count("event", one, unknown);
  const sentId = text(attributes.appid);
  if (sentId === "") throw new OmahaError("NotOmaha", "an app has no appid");
  const machineId = bareId(text(attributes.machineid));
  if (machineId.length > MAX_ID) {
    throw new OmahaError("TooLarge", `a machineid has ${machineId.length} characters, of at most ${MAX_ID}`);
  }
  return {
    ...{ sentId, id: bareId(sentId), version: text(attributes.version), track: text(attributes.track) },
    ...{ fromTrack: text(attributes.from_track), bootId: bareId(text(attributes.bootid)), machineId },
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
  let root: Element | undefined;
  try {
    root = parseRoot(xml, "request");
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    throw new OmahaError("NotXml", `the request can't be read: ${error.message}`);
  }
  if (root === undefined) throw new OmahaError("NotOmaha", "one <request> is expected");
  return root;
}

/** Adds what is not known of this one element. */
function count(kind: keyof typeof ATTRIBUTES, of: Element, unknown: Unknown): void {
  const { $: attributes = {}, ...elements } = of;
  unknown.attribute += Object.keys(attributes).filter((name) => !ATTRIBUTES[kind].includes(name)).length;
  unknown.element += Object.entries(elements).flatMap(([name, value]) =>
    ELEMENTS[kind]?.includes(name) === true ? [] : value,
  ).length;
}

/** Signed or not, of 32 bits; 0 where it is no number, as update_engine itself reads it. */
function number(value: string | undefined): number {
  return value !== undefined && /^-?\d{1,10}$/.test(value) ? Number(value) : 0;
}

/** An id of an application or a machine as it is compared: braces are sent by some and left out by others. */
export function bareId(id: string): string {
  return id.replaceAll(/[{}]/g, "").toLowerCase();
}
