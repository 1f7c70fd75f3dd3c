/** The reference pages: one per kind, and the catalogue of reasons. */
import type { Kind } from "./kind.ts";
import { reasons } from "./reasons.ts";
import { type Json, structural } from "./structural.ts";

type Schema = Record<string, Json>;

const HEADER = "<!-- Generated from api/ by `npm run generate`: do not edit. -->\n";

/** The page of a kind: its fields, their forms, limits and defaults, and its rules. */
export function kindPage(kind: Kind): string {
  const lines = [
    HEADER,
    `# ${kind.kind}`,
    "",
    kind.description,
    "",
    `\`${kind.group}/${kind.version}\`, cluster-scoped, \`kubectl get ${kind.plural}\`${short(kind)}.`,
    "",
    "## spec",
    "",
    ...table(structural(kind.spec, `${kind.kind}.spec`)),
    "",
    "## status",
    "",
    ...table(structural(kind.status, `${kind.kind}.status`)),
  ];
  const rules = [
    ...kind.rules.map(({ message }) => message),
    ...nestedRules(structural(kind.spec, kind.kind), "spec"),
  ];
  if (rules.length > 0) lines.push("", "## Rules", "", ...rules.map((message) => `- ${message}`));
  return `${lines.join("\n")}\n`;
}

function short(kind: Kind): string {
  return kind.shortNames.length > 0
    ? ` (short: ${kind.shortNames.map((name) => `\`${name}\``).join(", ")})`
    : "";
}

function nestedRules(schema: Schema, path: string): string[] {
  const own = (schema["x-kubernetes-validations"] as { message: string }[] | undefined) ?? [];
  const fields = Object.entries((schema["properties"] as Schema | undefined) ?? {});
  const { items } = schema;
  return [
    ...own.map(({ message }) => `\`${path}\`: ${message}`),
    ...fields.flatMap(([name, field]) => nestedRules(field as Schema, `${path}.${name}`)),
    ...(items === undefined ? [] : nestedRules(items as Schema, `${path}[]`)),
  ];
}

function table(schema: Schema): string[] {
  return ["| field | form | default | what it is |", "|---|---|---|---|", ...rows(schema, "")];
}

function rows(schema: Schema, prefix: string): string[] {
  const required = (schema["required"] as string[] | undefined) ?? [];
  return Object.entries((schema["properties"] as Schema | undefined) ?? {}).flatMap(([name, value]) => {
    const child = value as Schema;
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const fallback = child["default"] === undefined ? "" : `\`${JSON.stringify(child["default"])}\``;
    const mark = required.includes(name) ? " (required)" : "";
    const description = typeof child["description"] === "string" ? child["description"] : "";
    const row = `| \`${path}\`${mark} | ${form(child)} | ${fallback} | ${description} |`;
    const items = child["items"] as Schema | undefined;
    if (items?.["properties"] !== undefined) return [row, ...rows(items, `${path}[]`)];
    return [row, ...rows(child, path)];
  });
}

function form(schema: Schema): string {
  if (schema["x-kubernetes-int-or-string"] === true) return "count or percent";
  if (schema["enum"] !== undefined)
    return (schema["enum"] as string[]).map((word) => `\`${word}\``).join(", ");
  if (schema["format"] === "date-time") return "time";
  if (schema["type"] === "array") return `list, at most ${JSON.stringify(schema["maxItems"])}`;
  if (schema["type"] === "string") return `text, at most ${JSON.stringify(schema["maxLength"])}`;
  return typeof schema["type"] === "string" ? schema["type"] : "any";
}

/** The catalogue: what each reason means and what a person can do. */
export function reasonsPage(): string {
  const lines = [
    HEADER,
    "# Reasons",
    "",
    "The same reason stands in conditions, events, logs, metrics and in the answer to why a node waits.",
    "",
    "| reason | severity | what it means | what to do |",
    "|---|---|---|---|",
    ...Object.entries(reasons).map(
      ([name, { severity, meaning, next }]) => `| \`${name}\` | ${severity} | ${meaning} | ${next} |`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}
