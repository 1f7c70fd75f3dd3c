/** How a machine is drawn: its step, and whether it runs what it should, as one of few marks. */
import type { Machine } from "../contract.ts";

export const MARKS = [
  "failed",
  "suspect",
  "rebooting",
  "draining",
  "verifying",
  "staging",
  "staged",
  "behind",
  "unknown",
  "current",
] as const;
export type Mark = (typeof MARKS)[number];

/** `glyph` tells the marks apart without their colours. */
export const LOOKS: Readonly<Record<Mark, { glyph: string; label: string; meaning: string }>> = {
  failed: { glyph: "✕", label: "Failed", meaning: "the release failed here" },
  suspect: {
    glyph: "?",
    label: "Suspect",
    meaning: "away longer than its boot may take; its slot stays taken",
  },
  rebooting: { glyph: "R", label: "Rebooting", meaning: "may reboot now, or does" },
  draining: { glyph: "D", label: "Draining", meaning: "has a slot; Pods leave" },
  verifying: { glyph: "V", label: "Verifying", meaning: "is back; release checks run" },
  staging: { glyph: "↓", label: "Staging", meaning: "fetches and verifies the image" },
  staged: { glyph: "S", label: "Staged", meaning: "has the image, and waits for its turn" },
  behind: { glyph: "·", label: "Behind", meaning: "does not run its target yet" },
  unknown: { glyph: "–", label: "No word", meaning: "its agent is not connected, or never reported" },
  current: { glyph: "", label: "Up to date", meaning: "runs what it should" },
};

const BY_STATE: Partial<Record<Machine["state"], Mark>> = {
  Failed: "failed",
  Suspect: "suspect",
  Rebooting: "rebooting",
  Granting: "draining",
  Draining: "draining",
  Verifying: "verifying",
  Unknown: "unknown",
};

/** A machine that reboots is not connected by design, so only one at rest is without a word. */
export function markOf({
  state,
  connected,
  version,
  target,
}: Pick<Machine, "state" | "connected" | "version" | "target">): Mark {
  const known = BY_STATE[state];
  if (known !== undefined) return known;
  if (connected === false) return "unknown";
  if (state === "Staging") return "staging";
  if (state === "Staged") return "staged";
  return target === "" || version === target ? "current" : "behind";
}
