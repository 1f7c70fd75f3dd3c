/**
 * An Omaha v3 response that update_engine accepts, and the stricter reader that runs after it (ue-rs, download_sysext):
 * one manifest for each app, the payload first among its packages, each hash in the encoding that its attribute has.
 */

export interface OmahaPackage {
  /** Without a slash: it is appended to each URL. */
  name: string;
  /** Bytes, exactly. */
  size: number;
  /** Lower-case hex. */
  sha256: string;
}

export interface OmahaUpdate {
  version: string;
  /** Folders that hold the packages, in order of preference. */
  codebases: readonly [string, ...string[]];
  /** A CrAU payload. */
  payload: OmahaPackage;
  /** Payloads that only machines need that have them: OEM and extension images. */
  extras: readonly OmahaPackage[];
  /** For a server that follows us: whether it is on the way to the newest, or is the newest. */
  place?: "floor" | "target";
}

export interface AppAnswer {
  /** As it was sent. */
  appId: string;
  ping: boolean;
  /** Absent where nothing was checked. */
  check: OmahaUpdate | "noupdate" | undefined;
  events: number;
}

export interface OmahaAnswer {
  apps: readonly AppAnswer[];
  /** Seconds between checks, which clients take from 2700 to 14400; absent: their own. */
  pollInterval?: number;
}

/** `now`: wall clock, ms. */
export function renderResponse({ apps, pollInterval }: OmahaAnswer, now: number): string {
  const elapsed = Math.floor(now / 1000) % 86_400;
  const poll = pollInterval === undefined ? "" : ` PollInterval="${pollInterval}"`;
  const body = apps.map(({ appId, ping, check, events }) => {
    const parts = [
      ping ? `<ping status="ok"/>` : "",
      check === undefined
        ? ""
        : check === "noupdate"
          ? `<updatecheck status="noupdate"${poll}/>`
          : `<updatecheck status="ok"${poll}>${renderUpdate(check)}</updatecheck>`,
      `<event status="ok"/>`.repeat(events),
    ];
    return `<app appid="${escaped(appId)}" status="ok">${parts.join("")}</app>`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<response protocol="3.0" server="slipway"><daystart elapsed_seconds="${elapsed}"/>${body.join("")}</response>\n`;
}

function renderUpdate({ version, codebases, payload, extras, place }: OmahaUpdate): string {
  // CoreOS' client joins URL and name as they are.
  const urls = codebases.map((url) => `<url codebase="${escaped(url.endsWith("/") ? url : `${url}/`)}"/>`);
  const packages = [
    `<package name="${escaped(payload.name)}" size="${payload.size}" hash_sha256="${payload.sha256}" required="true"/>`,
    ...extras.map(
      ({ name, size, sha256 }) =>
        `<package name="${escaped(name)}" size="${size}" hash_sha256="${sha256}" required="false"/>`,
    ),
  ];
  // Without DisablePayloadBackoff a client that failed once waits for days.
  const action = `<action event="postinstall" sha256="${base64(payload.sha256)}" DisablePayloadBackoff="true"/>`;
  const mark = place === undefined ? "" : ` is_${place}="true"`;
  return `<urls>${urls.join("")}</urls><manifest version="${escaped(version)}"${mark}><packages>${packages.join("")}</packages><actions>${action}</actions></manifest>`;
}

function base64(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => ESCAPES[character] ?? "");
}
