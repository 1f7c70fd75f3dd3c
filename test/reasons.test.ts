import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { reasons } from "../api/reasons.ts";

const ROOMS = ["agent", "controllers", "coordination", "gateway"];
const root = join(import.meta.dirname, "..");

const source = ROOMS.flatMap((room) =>
  readdirSync(join(root, room), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => readFileSync(join(root, room, file), "utf8")),
).join("\n");

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
