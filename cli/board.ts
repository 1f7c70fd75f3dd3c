/**
 * The departures board: one line a node, redrawn in place on a terminal, and one plain line
 * a change where the output is none.
 */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

export interface Terminal {
  isTTY: boolean;
  columns: number;
  write(text: string): void;
}

const BAR = 10;
/** Times a second that a terminal is redrawn at most. */
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
  readonly #nodes = new Map<string, NodeUpdate>();
  readonly #printed = new Map<string, string>();
  #group: UpdateGroup | undefined;
  #lines = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
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
    this.#group = group;
    this.#changed();
  }

  remove(name: string): void {
    this.#nodes.delete(name);
    this.#changed();
  }

  /** Draws what is pending, and lets what follows be written below. */
  settle(): void {
    clearTimeout(this.#timer);
    if (this.#timer !== undefined) this.#draw();
    this.#timer = undefined;
    this.#lines = 0;
  }

  #changed(): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#draw();
      },
      this.#terminal.isTTY ? REDRAW_EVERY : 0,
    );
  }

  #draw(): void {
    const rows = [...this.#nodes.values()].map(row).toSorted((a, b) => (a.node < b.node ? -1 : 1));
    if (!this.#terminal.isTTY) {
      for (const each of rows) {
        const text = plain(each);
        if (this.#printed.get(each.node) !== text) this.#terminal.write(`${text}\n`);
        this.#printed.set(each.node, text);
      }
      const summary = this.#summary();
      if (summary !== "" && this.#printed.get("") !== summary) this.#terminal.write(`${summary}\n`);
      this.#printed.set("", summary);
      return;
    }
    const lines = [heading, ...rows.map(columns), this.#summary()].map((line) =>
      line.slice(0, this.#terminal.columns - 1),
    );
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A` : "";
    this.#terminal.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join("")}`);
    this.#lines = lines.length;
  }

  #summary(): string {
    const status = this.#group?.status;
    if (status === undefined) return "";
    const condition = (type: string) => status.conditions?.find((each) => each.type === type);
    const halted = condition("Halted");
    const line = `group ${this.#group?.metadata.name}: target ${status.target ?? "none"}, stage ${status.stage ?? "-"}, ${status.updated ?? 0}/${status.nodes ?? 0} updated, ${status.unavailable ?? 0} down`;
    if (halted?.status === "True")
      return `${line}\n  HALTED ${halted.reason}: ${halted.message}`.replaceAll(
        "\n",
        this.#terminal.isTTY ? "  " : "\n",
      );
    const progressing = condition("Progressing");
    return progressing === undefined ? line : `${line} (${progressing.reason}: ${progressing.message})`;
  }
}

function row(update: NodeUpdate): Row {
  const status = update.status;
  return {
    node: update.metadata.name,
    zone: status?.zone ?? "",
    slotA: status?.slotA ?? "",
    slotB: status?.slotB ?? "",
    step: status?.step ?? "",
    progress: status?.step === "Staging" ? status.progress : undefined,
    why: status?.reason === undefined ? "" : `${status.reason}: ${status.message ?? ""}`,
  };
}

const heading = columns({
  node: "NODE",
  zone: "ZONE",
  slotA: "SLOT A",
  slotB: "SLOT B",
  step: "STEP",
  progress: undefined,
  why: "REASON",
});

function columns({ node, zone, slotA, slotB, step, progress, why }: Row): string {
  const done = Math.round(((progress ?? 0) * BAR) / 100);
  const bar = progress === undefined ? "".padEnd(BAR) : "#".repeat(done).padEnd(BAR, ".");
  return `${node.padEnd(10)} ${zone.padEnd(7)} ${slotA.padEnd(18)} ${slotB.padEnd(18)} ${step.padEnd(10)} ${bar} ${why}`;
}

/** Without the percentage: a plain log has a line a change, not one a block. */
function plain({ node, zone, slotA, slotB, step, why }: Row): string {
  return `${node} zone=${zone} A=[${slotA}] B=[${slotB}] ${step} ${why}`;
}
