/** The page itself: a few files in memory, and what a browser is told not to do with them. */
import { createHash } from "node:crypto";
import type { EdgeAnswer, EdgeRequest, Route } from "../edge/server.ts";
import { plain } from "../edge/server.ts";

export interface PageFile {
  type: string;
  bytes: Buffer;
}

/** By path, such as `/index.html`. */
export type PageFiles = ReadonlyMap<string, PageFile>;

/** Nothing from elsewhere, nothing inline, nobody's frame; forms go nowhere else. */
const HEADERS = {
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "x-frame-options": "DENY",
};

/**
 * Serves `files`; a path without a dot that is none of them gets `/index.html`, since the page has addresses of its own.
 * Names are not those of their content, so a browser asks each time whether it has the newest (ETag).
 */
export function filesRoute(files: PageFiles): Route {
  const tags = new Map([...files].map(([path, { bytes }]) => [path, tagOf(bytes)]));
  return {
    prefix: "",
    maxBody: 0,
    answer: async (request) => serve(request, files, tags),
  };
}

function serve(request: EdgeRequest, files: PageFiles, tags: ReadonlyMap<string, string>): EdgeAnswer {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return { ...plain(405, "A page is only read.\n"), headers: { allow: "GET, HEAD" } };
  }
  const asked = request.path === "/" || !request.path.includes(".") ? "/index.html" : request.path;
  const file = files.get(asked);
  const tag = tags.get(asked);
  if (file === undefined || tag === undefined) {
    return plain(
      404,
      files.size === 0 ? "This build has no page; the API is at /api/v1.\n" : "No such file.\n",
    );
  }
  const headers = { ...HEADERS, etag: tag, "cache-control": "no-cache" };
  const known = request
    .header("if-none-match")
    ?.split(",")
    .map((one) => one.trim().replace(/^W\//, ""));
  if (known?.includes(tag)) return { status: 304, headers, body: "" };
  return { status: 200, type: file.type, headers, body: file.bytes };
}

function tagOf(bytes: Buffer): string {
  return `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
}
