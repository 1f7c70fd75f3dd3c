import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { reasons } from "../api/reasons.ts";
import { fastPatchErrors } from "../fastpatch/errors.ts";

const ROOMS = ["agent", "controllers", "coordination", "gateway"];
const root = join(import.meta.dirname, "..");

const sourceOf = (room: string): string =>
  readdirSync(join(root, room), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => readFileSync(join(root, room, file), "utf8"))
    .join("\n");
const source = ROOMS.map(sourceOf).join("\n");

test.each(Object.keys(reasons))("some policy gives the reason %s", (reason) => {
  expect(
    new RegExp(`["'\`]${reason}["'\`]`).test(source),
    "no room names it: return it, or take it out",
  ).toBe(true);
});

test("what a person can do is said wherever a person's eye is needed", () => {
  for (const [reason, { severity, meaning }] of Object.entries(reasons)) {
    expect(meaning, reason).toMatch(/\.$/);
    expect(["normal", "warning"], reason).toContain(severity);
  }
});

test.each(Object.keys(fastPatchErrors))("the A/B engine gives the error %s", (code) => {
  expect(sourceOf("fastpatch"), "nothing throws it: throw it, or take it out").toContain(`"${code}"`);
});
