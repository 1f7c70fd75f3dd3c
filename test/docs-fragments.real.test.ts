/** Parts of a group's spec that the pages for people show, against the real API server. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { parse } from "yaml";
import { UpdateGroupSpec } from "../api/update-group.ts";
import { tool } from "../hack/tools.ts";

const docs = join(import.meta.dirname, "../docs");
const kubectl = await tool("kubectl");

/** Blocks of YAML of which each key is one of the spec. */
const fragments = readdirSync(docs)
  .filter((file) => file.endsWith(".md"))
  .flatMap((page) =>
    [...readFileSync(join(docs, page), "utf8").matchAll(/```yaml\n([\s\S]*?)```/g)].flatMap(
      ([, yaml = ""]) => {
        const part = parse(yaml) as Record<string, unknown>;
        const keys = Object.keys(part);
        return keys.every((key) => key in UpdateGroupSpec.shape) ? [[page, keys.join(), part] as const] : [];
      },
    ),
  );

test("there are some", () => {
  expect(fragments.map(([, keys]) => keys)).toEqual(expect.arrayContaining(["blockers", "hooks"]));
});

test.each(fragments)("%s: %s", (_page, _keys, part) => {
  const nodeSelector = { matchLabels: { docs: "yes" } };
  const group = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "UpdateGroup",
    metadata: { name: "docs-fragment" },
    spec: { nodeSelector, channel: "stable", windows: "Always", ...part },
  };
  const args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
  const options = { input: JSON.stringify(group), encoding: "utf8" } as const;
  const output = execFileSync(kubectl, ["--kubeconfig", inject("kubeconfig"), ...args], options);
  expect(output).toContain("server dry run");
});
