/** Every kubectl command in the pages for people is run against the real API server; paths and scripts that they name exist. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { tool } from "../hack/tools.ts";
import { PAGES, ROOT as root, textOf } from "./docs/page.ts";

const text = new Map(PAGES.map((page) => [page, textOf(page)]));
const kubectl = await tool("kubectl");

function run(args: string[], input = ""): string {
  return execFileSync(kubectl, ["--kubeconfig", inject("kubeconfig"), ...args], { input, encoding: "utf8" });
}

/** What stands for an object's name in a page -> one that exists in this test. */
const names: Record<string, string> = {
  NAME: "docs-group",
  NODE: "docs-node",
  RELEASE: "docs-1.0.0",
  WORD: "again",
};

const blob = { urls: ["https://images.test/x"], size: 1, sha256: "0".repeat(64) };

const objects = [
  { apiVersion: "v1", kind: "Node", metadata: { name: "docs-node" } },
  {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "UpdateGroup",
    metadata: { name: "docs-group" },
    spec: { nodeSelector: { matchLabels: { docs: "yes" } }, release: "docs-1.0.0", windows: "Always" },
  },
  {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "Release",
    metadata: { name: "docs-1.0.0" },
    spec: {
      version: "1.0.0",
      product: "docs",
      payloads: [{ architecture: "amd64", image: blob, manifest: blob, rootHash: "0".repeat(64) }],
    },
  },
  {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "NodeUpdate",
    metadata: { name: "docs-node" },
    spec: { nodeName: "docs-node", nodeUID: "docs", group: "docs-group" },
  },
];

/** Words of a shell command; quotes group. */
function words(command: string): string[] {
  return [...command.matchAll(/(?:[^\s'"]+|'[^']*'|"[^"]*")+/g)].map(([word]) =>
    word.replaceAll(/['"]([^'"]*)['"]/g, "$1"),
  );
}

/** Labels of what an installation has, and this control plane has not. */
const INSTALLED = /-l app\.kubernetes\.io\//;

const commands = [...text].flatMap(([page, content]) =>
  [...content.matchAll(/`(kubectl (?:get|describe|patch|annotate) [^`]+)`/g)].map(
    (match) => [page, match[1] ?? ""] as const,
  ),
);

describe("commands", () => {
  beforeAll(() => {
    for (const object of objects) run(["apply", "-f", "-"], JSON.stringify(object));
  });
  afterAll(() => {
    run([
      "delete",
      "node/docs-node",
      "updategroup/docs-group",
      "nodeupdate/docs-node",
      "release/docs-1.0.0",
      "--ignore-not-found",
    ]);
  });

  test("there are some", () => {
    expect(commands.length).toBeGreaterThan(5);
  });

  test.each(commands)("%s: %s", (_page, command) => {
    const quoted = command.includes("'{")
      ? command.replace(/'(\{[^']*\})'/, (_all, json: string) => `@${Buffer.from(json).toString("base64")}`)
      : command;
    const args = words(quoted)
      .slice(1)
      .map((word) => (word.startsWith("@") ? Buffer.from(word.slice(1), "base64").toString() : word))
      .map((word) =>
        word.replaceAll(/\b(NAME|NODE|RELEASE|WORD)\b/g, (placeholder) => names[placeholder] ?? placeholder),
      );
    const writes = args[0] === "patch" || args[0] === "annotate";
    const output = run([...args, ...(writes ? ["--dry-run=server"] : [])]);
    // Of some kinds there is nothing here; what a get may not do is fail.
    if (args[0] !== "get" && !INSTALLED.test(command)) expect(output).not.toBe("");
  });
});

/** Of the headings, as GitHub makes them. */
function anchorsOf(content: string): string[] {
  return [...content.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

describe("links and paths", () => {
  test.each([...text])("%s points only at what exists", (page, content) => {
    for (const [, target = "", anchor = ""] of content.matchAll(/\]\(([^)#:]*)(?:#([^)]*))?\)/g)) {
      const path = target === "" ? page : join(dirname(page), target);
      expect(existsSync(join(root, path)), target).toBe(true);
      if (anchor !== "") expect(anchorsOf(textOf(path)), `${target}#${anchor}`).toContain(anchor);
    }
    for (const [, path = ""] of content.matchAll(
      /`((?:api|agent|controllers|coordination|fastpatch|gateway|hack|test|docs|proto|runtime|ports|cli)\/[\w./-]+\.(?:ts|md|proto|yaml))`/g,
    )) {
      expect(existsSync(join(root, path)), path).toBe(true);
    }
  });

  test("every npm script that a page names exists", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    for (const [page, content] of text) {
      for (const [, script = ""] of content.matchAll(/`npm run ([\w:]+)/g))
        expect(scripts, `${page}: ${script}`).toHaveProperty([script]);
    }
  });
});
