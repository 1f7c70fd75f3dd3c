/** How a bad manifest is made: one of docs/examples, with one value changed. */
import { readFileSync } from "node:fs";
import { parse } from "yaml";

export type Json = Record<string, unknown>;

export interface BadManifest {
  name: string;
  manifest: Json;
  /** Part of the path of the field that the message must name. */
  field: string;
  /** Words of the fix. */
  fix: RegExp;
}

const example = (file: string): Json =>
  parse(readFileSync(new URL(`../docs/examples/${file}`, import.meta.url), "utf8")) as Json;

const bases = {
  release: example("1-release.yaml"),
  channel: example("2-channel.yaml"),
  group: example("3-update-group.yaml"),
  window: example("4-reboot-window.yaml"),
  budget: example("6-reboot-budget.yaml"),
  sentinel: example("7-sentinel-group.yaml"),
  node: {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "NodeUpdate",
    metadata: { name: "node-1" },
    spec: { nodeName: "node-1", nodeUID: "u", group: "workers" },
  } as Json,
};

/** A base with the value at `path` (dots, indexes) replaced; `undefined` removes it. */
function changed(base: keyof typeof bases, path: string, value: unknown): Json {
  const copy = structuredClone(bases[base]);
  const steps = path.split(".");
  const last = steps.pop() as string;
  let at = copy;
  for (const step of steps) {
    at[step] ??= {};
    at = at[step] as Json;
  }
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

/** `field`: where the message must point, if not at `path`. */
export const bad = (
  name: string,
  base: keyof typeof bases,
  path: string,
  value: unknown,
  fix: RegExp,
  field?: string,
): BadManifest => ({
  name,
  manifest: changed(base, path, value),
  field: field ?? path.replace(/\.(\d+)/g, "[$1]"),
  fix,
});
