import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { describe, expect, inject, test } from "vitest";
import { parse } from "yaml";
import { tool } from "../hack/tools.ts";
import { badManifests } from "./bad-manifests.ts";

const kubectl = await tool("kubectl");

/** kubectl's output and whether it ended with 0. */
function run(args: string[], input?: string): { ok: boolean; text: string } {
  try {
    const text = execFileSync(kubectl, ["--kubeconfig", inject("kubeconfig"), ...args], {
      input: input ?? "",
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
    });
    return { ok: true, text };
  } catch (error) {
    return { ok: false, text: (error as { stderr: string }).stderr };
  }
}

const apply = (manifest: unknown): { ok: boolean; text: string } =>
  run(["apply", "--dry-run=server", "-f", "-"], JSON.stringify(manifest));

describe("docs/examples", () => {
  const folder = new URL("../docs/examples/", import.meta.url).pathname;
  test.each(readdirSync(folder))("%s is accepted", (file) => {
    const { ok, text } = run(["apply", "--dry-run=server", "-f", `${folder}${file}`]);
    expect(text).toContain("dry run");
    expect(ok).toBe(true);
  });
});

describe("a bad manifest is refused with the field and a fix", () => {
  test("there are at least 60", () => {
    expect(badManifests.length).toBeGreaterThanOrEqual(60);
  });

  test.each(badManifests.map((bad) => [bad.name, bad] as const))("%s", (_name, { manifest, field, fix }) => {
    const { ok, text } = apply(manifest);
    expect(ok).toBe(false);
    expect(text).toContain(field);
    expect(text).toMatch(fix);
  });
});

test("a Release never changes", () => {
  const folder = new URL("../docs/examples/", import.meta.url).pathname;
  expect(run(["apply", "-f", `${folder}1-release.yaml`]).ok).toBe(true);
  try {
    const release = parse(run(["get", "release", "harbor-1.1.0", "-o", "yaml"]).text);
    release.spec.version = "1.1.1";
    const { ok, text } = run(["replace", "-f", "-"], JSON.stringify(release));
    expect(ok).toBe(false);
    expect(text).toContain("spec");
    expect(text).toContain("create a new Release with another name");
  } finally {
    run(["delete", "release", "harbor-1.1.0"]);
  }
});
