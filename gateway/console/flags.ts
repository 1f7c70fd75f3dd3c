/** The console's flags, and what they mean together. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import type { Command } from "commander";
import * as z from "zod";
import { parseKeys } from "../../pki/machine-credentials.ts";
import { type Address, parseAddress } from "../../ports/address.ts";
import type { Fetcher } from "../../runtime/fetch.ts";
import { isOrigin } from "../sign-in/oidc.ts";
import type { ConsoleSettings } from "./console.ts";
import type { PageFile, PageFiles } from "./files.ts";

export const ConsoleFlags = z.object({
  console: z.string().transform(parseAddress).optional(),
  consoleTls: z.boolean().optional(),
  consoleUrl: z
    .string()
    .refine(isOrigin, { error: "--console-url: https://HOST[:PORT] expected, without a path" })
    .optional(),
  consoleKey: z.string().optional(),
  consoleFiles: z.string().optional(),
  oidcIssuerUrl: z.string().optional(),
  oidcClientId: z.string().optional(),
  oidcClientSecretFile: z.string().optional(),
  oidcCaFile: z.string().optional(),
  oidcUsernameClaim: z.string(),
  oidcUsernamePrefix: z.string().optional(),
  oidcGroupsClaim: z.string().optional(),
  oidcGroupsPrefix: z.string(),
  oidcScopes: z.string(),
});

export function addConsoleFlags(command: Command): Command {
  return command
    .option("--console <address>", "[HOST]:PORT for people: the console and its JSON API")
    .option("--console-tls", "serve --console with the gateway's own certificate")
    .option("--console-url <url>", "as browsers reach it, such as https://slipway.example.org")
    .option(
      "--console-key <file>",
      "keys that seal sessions, base64, one in a line, newest first; the same for all gateways",
    )
    .option("--console-files <dir>", "the page (default: the one of the image)")
    .option("--oidc-issuer-url <url>", "identity provider by which people sign in (OpenID Connect)")
    .option("--oidc-client-id <id>", "as the provider knows the console")
    .option("--oidc-client-secret-file <file>", "the client's secret; none for a public client")
    .option("--oidc-ca-file <file>", "authority of the provider's certificate (default: the well-known ones)")
    .option("--oidc-username-claim <name>", "claim that is the user's name", "sub")
    .option(
      "--oidc-username-prefix <text>",
      "before it; `-` for none (default: the issuer and #, and none for email)",
    )
    .option("--oidc-groups-claim <name>", "claim that is the user's groups")
    .option("--oidc-groups-prefix <text>", "before each of them", "")
    .option("--oidc-scopes <list>", "besides openid, comma-separated", "profile,email");
}

export type ConsoleFlags = z.output<typeof ConsoleFlags>;

/** The settings; undefined where the console is not served. Throws an `Error` that names the flag. `beside`: the program's folder. */
export function consoleSettings(
  flags: ConsoleFlags,
  fetcher: (ca: string | undefined) => Fetcher,
  beside: string,
): ({ listen: Address; tls: boolean } & ConsoleSettings) | undefined {
  if (flags.console === undefined) return undefined;
  if (flags.consoleKey === undefined) {
    throw new Error(
      "--console needs --console-key: a file with a base64 key of 32 bytes, the same for all gateways",
    );
  }
  const tls = flags.consoleTls ?? false;
  return {
    listen: flags.console,
    tls,
    origin: flags.consoleUrl,
    secure: tls || flags.consoleUrl?.startsWith("https:") === true,
    keys: parseKeys(readFileSync(flags.consoleKey, "utf8")),
    oidc: oidcSettings(flags, fetcher),
    files: readPage(flags.consoleFiles ?? join(beside, "../console")),
  };
}

function oidcSettings(
  flags: ConsoleFlags,
  fetcher: (ca: string | undefined) => Fetcher,
): ConsoleSettings["oidc"] {
  const { oidcIssuerUrl: issuer, oidcClientId: clientId, oidcClientSecretFile, oidcCaFile } = flags;
  if (issuer === undefined) return undefined;
  if (clientId === undefined) throw new Error("--oidc-issuer-url needs --oidc-client-id");
  if (flags.consoleUrl === undefined) throw new Error("--oidc-issuer-url needs --console-url");
  return {
    ...{ issuer, clientId },
    clientSecret:
      oidcClientSecretFile === undefined ? undefined : readFileSync(oidcClientSecretFile, "utf8").trim(),
    usernameClaim: flags.oidcUsernameClaim,
    usernamePrefix: flags.oidcUsernamePrefix,
    groupsClaim: flags.oidcGroupsClaim,
    groupsPrefix: flags.oidcGroupsPrefix,
    scopes: flags.oidcScopes.split(",").filter((scope) => scope !== ""),
    fetcher: fetcher(oidcCaFile === undefined ? undefined : readFileSync(oidcCaFile, "utf8")),
  };
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".woff2": "font/woff2",
};
/** A page is a handful of files. */
const MAX_FILES = 100;
const MAX_BYTES = 8 * 1024 * 1024;

/** What lies in `directory` and is of a type that a page has; nothing where there is no page. */
function readPage(directory: string): PageFiles {
  const files = new Map<string, PageFile>();
  if (!existsSync(join(directory, "index.html"))) return files;
  let total = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    const type = TYPES[extname(entry.name)];
    if (!entry.isFile() || type === undefined) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = readFileSync(path);
    total += bytes.length;
    if (files.size >= MAX_FILES || total > MAX_BYTES)
      throw new Error(`${directory} has more than a page: at most ${MAX_FILES} files and ${MAX_BYTES} bytes`);
    files.set(path.slice(directory.replace(/\/$/, "").length), { type, bytes });
  }
  return files;
}
