/** kubectl's forms of output: a table, and `-o json|yaml|wide|name`. */
import { type Command, Option } from "commander";
import { stringify } from "yaml";
import type { KubeObject } from "../api/meta.ts";
import type { Io } from "./io.ts";
import { visible } from "./visible.ts";

const FORMATS = ["json", "yaml", "wide", "name"] as const;
type Format = (typeof FORMATS)[number];

export interface OutputFlags {
  output?: Format;
}

export function addOutputFlag(command: Command, formats: readonly Format[] = FORMATS): Command {
  return command.addOption(new Option("-o, --output <format>", "form of the output").choices(formats));
}

export interface Column<T> {
  name: string;
  of: (row: T) => string;
  /** Shown with `-o wide` only. */
  wide?: boolean;
}

/** Columns with kubectl's three spaces between them; a row is one line, whatever its cells are. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], wide = false): string {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const cells = [
    shown.map(({ name }) => name),
    ...rows.map((row) => shown.map(({ of }) => visible(of(row)) || "-")),
  ];
  const widths = shown.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, index) => (index === line.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
        .join("   "),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** Prints Kubernetes objects: as they are with json and yaml, `kind.group/name` with name, else as a table. */
export function printObjects<T extends KubeObject>(
  io: Io,
  objects: readonly T[],
  columns: readonly Column<T>[],
  format: Format | undefined,
): void {
  if (format === "json" || format === "yaml") {
    const clean = objects.map(withoutManagedFields);
    printData(io, clean.length === 1 ? clean[0] : { apiVersion: "v1", kind: "List", items: clean }, format);
  } else if (format === "name") {
    for (const { apiVersion, kind, metadata } of objects) {
      const group = apiVersion.includes("/") ? `.${apiVersion.split("/")[0]}` : "";
      io.out(`${kind.toLowerCase()}${group}/${visible(metadata.name)}\n`);
    }
  } else if (objects.length === 0) {
    io.err("No resources found\n");
  } else {
    io.out(table(objects, columns, format === "wide"));
  }
}

/** `value` as JSON or YAML. */
export function printData(io: Io, value: unknown, format: "json" | "yaml"): void {
  io.out(
    format === "json"
      ? `${JSON.stringify(value, undefined, 2)}\n`
      : stringify(value, { aliasDuplicateObjects: false }),
  );
}

function withoutManagedFields<T extends KubeObject>(object: T): T {
  const { managedFields, ...metadata } = object.metadata as T["metadata"] & { managedFields?: unknown };
  return managedFields === undefined ? object : { ...object, metadata };
}
