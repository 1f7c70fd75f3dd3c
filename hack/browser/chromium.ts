/** Chromium for the console's tests, benchmark and screenshots: Debian's, installed or unpacked into the cache. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { removeAtExit } from "../plane/process.ts";
import { ToolError } from "../tools/cache.ts";
import { debianTree } from "../tools/tree.ts";

const INSTALLED = ["/usr/bin/chromium", "/usr/bin/chromium-headless-shell"];

const LAUNCH_WITHIN = 60_000;

interface Program {
  path: string;
  /** What its environment needs besides. */
  env: Record<string, string>;
  /** Folder of its fonts; absent for an installed one, which has those of the machine. */
  fonts?: string;
}

export interface Browser {
  /** A window with a profile of its own, which no other window shares. */
  open(options?: WindowOptions): Promise<BrowserContext>;
  close(): Promise<void>;
}

export interface WindowOptions {
  /** CSS pixels; 1280 by 800 by default. */
  viewport?: { width: number; height: number };
  colorScheme?: "light" | "dark";
  reducedMotion?: "reduce" | "no-preference";
  /** Device pixels to a CSS pixel. */
  scale?: number;
}

/** The program, which is fetched when it is missing. Throws `ToolError`. */
export async function chromiumProgram(): Promise<Program> {
  const installed = INSTALLED.find((path) => existsSync(path));
  if (installed !== undefined) return { path: installed, env: {} };
  const tree = await debianTree("chromium");
  const triple = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" }[process.arch as "x64" | "arm64"];
  const libraries = ["", "/nss", "/pulseaudio"].map((folder) => `${tree}/usr/lib/${triple}${folder}`);
  return {
    path: join(tree, "usr/lib/chromium/chromium-headless-shell"),
    env: { LD_LIBRARY_PATH: libraries.join(":") },
    fonts: join(tree, "usr/share/fonts"),
  };
}

/** Starts it without a window. Rejects with `ToolError` where it does not start. */
export async function startBrowser(): Promise<Browser> {
  const { path, env, fonts } = await chromiumProgram();
  const home = mkdtempSync(join(tmpdir(), "slipway-browser-"));
  const cleanup = removeAtExit(home);
  const remove = (): void => {
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
    cleanup.forget();
  };
  const own = { ...env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home };
  const fontsFile = fonts === undefined ? {} : { FONTCONFIG_FILE: writeFonts(home, fonts) };
  try {
    const browser = await chromium.launch({
      executablePath: path,
      timeout: LAUNCH_WITHIN,
      env: { ...process.env, ...own, ...fontsFile },
      args: [
        ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
      ],
    });
    return {
      open: async (options = {}) =>
        await browser.newContext({
          viewport: options.viewport ?? { width: 1280, height: 800 },
          colorScheme: options.colorScheme ?? "light",
          reducedMotion: options.reducedMotion ?? "no-preference",
          deviceScaleFactor: options.scale ?? 1,
          ignoreHTTPSErrors: true,
          timezoneId: "UTC",
          locale: "en-GB",
        }),
      close: async () => {
        await browser.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw new ToolError(
      `Chromium (${path}) does not start: install the package chromium, or see what its message says is missing.`,
      error,
    );
  }
}

/** So that text looks the same wherever screenshots are taken. */
function writeFonts(home: string, folder: string): string {
  const prefer = (generic: string, font: string): string =>
    `<alias binding="strong"><family>${generic}</family><prefer><family>${font}</family></prefer></alias>`;
  const file = join(home, "fonts.conf");
  mkdirSync(join(home, "fonts"));
  writeFileSync(
    file,
    [
      '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>',
      `<dir>${folder}</dir><cachedir>${join(home, "fonts")}</cachedir>`,
      ...["sans-serif", "system-ui", "sans"].map((generic) => prefer(generic, "Inter")),
      prefer("monospace", "DejaVu Sans Mono"),
      "</fontconfig>",
    ].join("\n"),
  );
  return file;
}
