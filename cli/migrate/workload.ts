/** Workloads of others, as manifests or from the API server: their flags, environment and node selectors. */
import { parseAllDocuments } from "yaml";
import * as z from "zod";

const Container = z.looseObject({
  name: z.string(),
  image: z.string().default(""),
  command: z.array(z.coerce.string()).default([]),
  args: z.array(z.coerce.string()).default([]),
  env: z.array(z.looseObject({ name: z.string(), value: z.coerce.string().optional() })).default([]),
});

const Loose = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    annotations: z.record(z.string(), z.string()).optional(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
  spec: z
    .looseObject({
      template: z
        .looseObject({
          spec: z
            .looseObject({
              containers: z.array(Container).default([]),
              nodeSelector: z.record(z.string(), z.string()).optional(),
            })
            .optional(),
        })
        .optional(),
    })
    .optional(),
  data: z.record(z.string(), z.string()).optional(),
});
/** Any object of a manifest; workloads have `spec.template`, ConfigMaps `data`. */
export type Loose = z.output<typeof Loose>;
export type Container = z.output<typeof Container>;

/** All objects of a YAML stream, those in Lists too. Throws an `Error` that says what can't be read. */
export function readManifests(text: string): Loose[] {
  const objects = parseAllDocuments(text).flatMap((document) => {
    if ("errors" in document && document.errors.length > 0)
      throw new Error(`the manifest is no YAML: ${document.errors[0]?.message}`);
    const value = (document as { toJS(): unknown }).toJS() as { kind?: string; items?: unknown[] } | null;
    if (value === null || typeof value !== "object") return [];
    return value.kind?.endsWith("List") === true && Array.isArray(value.items) ? value.items : [value];
  });
  return objects.flatMap((object) => {
    const parsed = Loose.safeParse(object);
    return parsed.success ? [parsed.data] : [];
  });
}

export function containersOf({ spec }: Loose): readonly Container[] {
  return spec?.template?.spec?.containers ?? [];
}

export function nameOf({ kind, metadata }: Loose): string {
  return `${kind} ${metadata.namespace === undefined ? "" : `${metadata.namespace}/`}${metadata.name}`;
}

/** Flags as spf13/pflag and Go's `flag` take them: `--name=value`, `--name value`, `-name=value`, `--name`; then the environment, which flags beat. */
export class Flags {
  readonly #values = new Map<string, string[]>();
  readonly #asked = new Set<string>();

  /** `switches`: flags without a value. `environment`: the name of a flag's variable. */
  constructor(
    { command, args, env }: Container,
    switches: readonly string[],
    environment: (name: string) => string | undefined,
  ) {
    const words = [...command, ...args];
    for (const [index, word] of words.entries()) {
      const [, name, value] = /^--?([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(word) ?? [];
      if (name === undefined) continue;
      const next = words[index + 1];
      const taken =
        value ?? (switches.includes(name) || next === undefined || next.startsWith("--") ? "true" : next);
      this.#values.set(name, [...(this.#values.get(name) ?? []), taken]);
    }
    for (const { name, value } of env) {
      const flag = environment(name);
      if (flag !== undefined && value !== undefined && !this.#values.has(flag))
        this.#values.set(flag, [value]);
    }
  }

  /** The last value given, or `otherwise`. */
  get(name: string, otherwise: string): string {
    this.#asked.add(name);
    return this.#values.get(name)?.at(-1) ?? otherwise;
  }

  all(name: string): readonly string[] {
    this.#asked.add(name);
    return this.#values.get(name) ?? [];
  }

  has(name: string): boolean {
    this.#asked.add(name);
    return this.#values.has(name);
  }

  is(name: string): boolean {
    return this.get(name, "false") === "true";
  }

  /** Flags that were given and that nobody asked about. */
  unread(): string[] {
    return [...this.#values.keys()].filter((name) => !this.#asked.has(name));
  }
}
