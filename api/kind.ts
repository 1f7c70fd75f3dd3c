/** How a kind is declared: everything that its CustomResourceDefinition says. */
import type { z } from "zod";
import { GROUP, VERSION } from "./meta.ts";

export interface PrinterColumn {
  name: string;
  type: "string" | "integer" | "date";
  jsonPath: string;
  description: string;
  /** 1 shows the column with `-o wide` only. */
  priority?: 0 | 1;
}

/** A CEL rule over the whole object; `message` names the field and the fix. */
export interface Rule {
  rule: string;
  message: string;
  fieldPath?: string;
}

/** Where a kind's objects live in the API: what a client needs to build a path. */
export interface Resource {
  group: string;
  version: string;
  kind: string;
  plural: string;
  namespaced: boolean;
}

export interface Kind extends Resource {
  singular: string;
  shortNames: string[];
  description: string;
  spec: z.ZodObject;
  status: z.ZodObject;
  printerColumns: PrinterColumn[];
  rules: Rule[];
}

/** A cluster-scoped kind of our group. */
export function defineKind(kind: Omit<Kind, "group" | "version" | "namespaced">): Kind {
  return { group: GROUP, version: VERSION, namespaced: false, ...kind };
}
