/** The reference page of the A/B engine's errors, from their catalogue. */
import { fastPatchErrors } from "../../fastpatch/errors.ts";

const HEADER = "<!-- Generated from fastpatch/errors.ts by `npm run generate`: do not edit. -->\n";

export function errorsPage(): string {
  return `${[
    HEADER,
    "# Errors of the A/B engine",
    "",
    "What an agent, or `slipway image`, says when it can't go on. The message names the particulars and ends with what to do. A node shows it beside the reason `ImageRefused` where trying again would give the same answer, and beside `StagingFailed` where the agent tries again by itself.",
    "",
    "| error | when | what to do | tried again |",
    "|---|---|---|---|",
    ...Object.entries(fastPatchErrors).map(
      ([code, { when, next, ...more }]) =>
        `| \`${code}\` | ${when} | ${next} | ${"refused" in more ? "no" : "yes"} |`,
    ),
  ].join("\n")}\n`;
}
