/**
 * The departures board: one line a node, redrawn in place on a terminal, and one plain line
 * a change where the output is none.
 */
import type { NodeUpdate } from "../api/node-update.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import type { Cancel, Clock } from "../ports/clock.ts";
import { visible } from "./visible.ts";

export interface Terminal {
  isTTY: boolean;
  columns: number;
  write(text: string): void;
}

const BAR = 10;
/** Milliseconds between two drawings of a terminal, at least. */
const REDRAW_EVERY = 250;

interface Row {
  node: string;
  zone: string;
  slotA: string;
  slotB: string;
  step: string;
  progress: number | undefined;
  why: string;
}

export class Board {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #nodes = new Map<string, NodeUpdate>();
  readonly #groups = new Map<string, UpdateGroup>();
  readonly #printed = new Map<string, string>();
  #lines = 0;
  #cancel: Cancel | undefined;

  constructor(terminal: Terminal, clock: Clock) {
    this.#terminal = terminal;
    this.#clock = clock;
  }

  /** A heading for what follows. */
  title(text: string): void {
    this.settle();
    this.#terminal.write(`\n${text}\n`);
  }

  /** A line that stays. */
  say(text: string): void {
    this.settle();
    this.#terminal.write(`${text}\n`);
  }

  node(update: NodeUpdate): void {
    this.#nodes.set(update.metadata.name, update);
    this.#changed();
  }

  group(group: UpdateGroup): void {
    this.#groups.set(group.metadata.name, group);
    this.#changed();
  }

  removeNode(name: string): void {
    this.#nodes.delete(name);
    this.#changed();
  }

  removeGroup(name: string): void {
    this.#groups.delete(name);
    this.#changed();
  }

  /** Draws what is pending, and lets what follows be written below. */
  settle(): void {
    this.#cancel?.();
    if (this.#cancel !== undefined) this.#draw();
    this.#cancel = undefined;
    this.#lines = 0;
  }

  #changed(): void {
    this.#cancel ??= this.#clock.after(this.#terminal.isTTY ? REDRAW_EVERY : 0, () => {
      this.#cancel = undefined;
      this.#draw();
    });
  }

  #draw(): void {
    const groups = [...this.#groups.values()].toSorted(byName);
    const nodes = [...this.#nodes.values()].toSorted(byName);
    if (this.#terminal.isTTY) this.#redraw(boardLines(groups, nodes));
    else this.#print(groups, nodes);
  }

  #redraw(all: readonly string[]): void {
    const lines = all.map((line) => line.slice(0, this.#terminal.columns - 1));
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A\x1b[J` : "";
    this.#terminal.write(`${up}${lines.map((line) => `${line}\n`).join("")}`);
    this.#lines = lines.length;
  }

  /** Without the percentage: a plain log has a line a change, not one a block. */
  #print(groups: readonly UpdateGroup[], nodes: readonly NodeUpdate[]): void {
    for (const node of nodes) this.#printChanged(`node/${node.metadata.name}`, plain(row(node)));
    for (const group of groups)
      this.#printChanged(`group/${group.metadata.name}`, groupLines(group).join("\n"));
  }

  #printChanged(key: string, text: string): void {
    if (this.#printed.get(key) !== text) this.#terminal.write(`${text}\n`);
    this.#printed.set(key, text);
  }
}

/** The whole board: a line or two a group, then a line a node. */
export function boardLines(groups: readonly UpdateGroup[], nodes: readonly NodeUpdate[]): string[] {
  const rows = nodes.map(row);
  const widths = {
    node: width(rows, "node", 10),
    zone: width(rows, "zone", 7),
    slotA: width(rows, "slotA", 18),
    slotB: width(rows, "slotB", 18),
  };
  return [...groups.flatMap(groupLines), "", ...[HEADING, ...rows].map((each) => columns(each, widths))];
}

function byName(a: { metadata: { name: string } }, b: { metadata: { name: string } }): number {
  return a.metadata.name < b.metadata.name ? -1 : 1;
}

/** What a group does, and why it does no more. */
export function groupLines({ metadata, spec, status }: UpdateGroup): string[] {
  const condition = (type: string) => status?.conditions?.find((each) => each.type === type);
  const target = spec.driver === "sentinel" ? "reboots only" : `target ${status?.target ?? "none"}`;
  const stage = status?.stage === undefined ? "" : `, stage ${status.stage}`;
  const line = `group ${metadata.name}: ${target}${stage}, ${status?.updated ?? 0}/${status?.nodes ?? 0} updated, ${status?.unavailable ?? 0} down`;
  const halted = condition("Halted");
  if (halted?.status === "True") return [line, `  HALTED ${halted.reason}: ${visible(halted.message)}`];
  const accepted = condition("Accepted");
  if (accepted?.status === "False") return [line, `  ${accepted.reason}: ${visible(accepted.message)}`];
  const progressing = condition("Progressing");
  return progressing === undefined
    ? [line]
    : [line, `  ${progressing.reason}: ${visible(progressing.message)}`];
}

function row(update: NodeUpdate): Row {
  const status = update.status;
  return {
    node: update.metadata.name,
    zone: visible(status?.zone ?? ""),
    slotA: visible(status?.slotA ?? ""),
    slotB: visible(status?.slotB ?? ""),
    step: status?.step ?? "",
    progress: status?.step === "Staging" ? status.progress : undefined,
    why: status?.reason === undefined ? "" : `${status.reason}: ${visible(status.message ?? "")}`,
  };
}

const HEADING: Row = {
  node: "NODE",
  zone: "ZONE",
  slotA: "SLOT A",
  slotB: "SLOT B",
  step: "STEP",
  progress: undefined,
  why: "REASON",
};

type Widths = Readonly<Record<"node" | "zone" | "slotA" | "slotB", number>>;

function width(rows: readonly Row[], column: keyof Widths, least: number): number {
  return Math.max(least, ...rows.map((each) => each[column].length));
}

function columns({ node, zone, slotA, slotB, step, progress, why }: Row, widths: Widths): string {
  const done = Math.round(((progress ?? 0) * BAR) / 100);
  const bar = progress === undefined ? "".padEnd(BAR) : "#".repeat(done).padEnd(BAR, ".");
  return `${node.padEnd(widths.node)} ${zone.padEnd(widths.zone)} ${slotA.padEnd(widths.slotA)} ${slotB.padEnd(widths.slotB)} ${step.padEnd(10)} ${bar} ${why}`;
}

function plain({ node, zone, slotA, slotB, step, why }: Row): string {
  return `${node} zone=${zone} A=[${slotA}] B=[${slotB}] ${step} ${why}`;
}
