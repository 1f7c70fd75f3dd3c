/** `kubectl slipway windows next`: when each group's reboots may begin. */
import { Command } from "commander";
import { timestamp } from "../api/meta.ts";
import { openingsOf, windowsOf } from "../api/openings.ts";
import { type RebootWindow, rebootWindow } from "../api/reboot-window.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { span } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { addOutputFlag, type Column, type OutputFlags, printData, table } from "./output.ts";

interface Line {
  group: string;
  opens: string;
  closes: string;
  state: "open" | "next" | "never";
  windows: readonly string[];
  note: string;
}

export function windowsCommand(io: Io): Command {
  const windows = new Command("windows").description("Show reboot windows.");
  const next = windows
    .command("next")
    .description("List the present and next openings of each group: its windows, less change freezes.")
    .argument("[group...]", "UpdateGroups; all if absent")
    .action(async (wanted: string[], _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags>();
      await withClient(flags, io, async (client) => {
        const [groups, all] = await Promise.all([
          client.list<UpdateGroup>(updateGroup),
          client.list<RebootWindow>(rebootWindow),
        ]);
        const missing = wanted.find((name) => !groups.items.some(({ metadata }) => metadata.name === name));
        if (missing !== undefined)
          throw new Failure(`there is no UpdateGroup ${missing}: \`kubectl get updategroups\` lists them`);
        const now = io.clock.now();
        const lines = groups.items
          .filter(({ metadata }) => wanted.length === 0 || wanted.includes(metadata.name))
          .flatMap((group) => linesOf(group, all.items, now));
        print(io, lines, flags.output, now);
      });
    });
  addOutputFlag(next);
  return windows;
}

/** `now`: wall clock, ms. */
export function linesOf(group: UpdateGroup, windows: readonly RebootWindow[], now: number): Line[] {
  const { name } = group.metadata;
  const bound = windowsOf(group, windows);
  const openings = openingsOf(group, windows, now);
  const note = noteOf(group, bound);
  if (openings.length === 0)
    return [{ group: name, opens: "", closes: "", state: "never", windows: [], note }];
  return openings.map(({ start, end, windows: by }, index) => ({
    group: name,
    opens: timestamp(start),
    closes: end === null ? "" : timestamp(end),
    state: start <= now ? "open" : "next",
    windows: by,
    note: index === 0 ? note : "",
  }));
}

function noteOf(group: UpdateGroup, bound: readonly RebootWindow[]): string {
  const unread = bound.find(({ status }) =>
    status?.conditions?.some(({ type, status: is }) => type === "Accepted" && is === "False"),
  );
  if (unread !== undefined) return `RebootWindow ${unread.metadata.name} can't be acted on`;
  const freeze = bound.find(({ spec, status }) => spec.mode === "Deny" && status?.open === true);
  if (freeze !== undefined) return `change freeze ${freeze.metadata.name}`;
  if (group.spec.windows === "Always") return "windows: Always";
  return bound.some(({ spec }) => spec.mode === "Allow") ? "" : "no RebootWindow of mode Allow selects it";
}

function print(io: Io, lines: readonly Line[], output: OutputFlags["output"], now: number): void {
  if (output === "json" || output === "yaml") return printData(io, lines, output);
  if (output === "name")
    return io.out([...new Set(lines.map(({ group }) => `updategroup.slipway.dev/${group}\n`))].join(""));
  if (lines.length === 0) return io.err("No resources found\n");
  const columns: Column<Line>[] = [
    { name: "GROUP", of: ({ group }) => group },
    { name: "STATE", of: ({ state }) => state },
    { name: "OPENS", of: ({ opens, state }) => (state === "open" ? "now" : opens) },
    { name: "IN", of: ({ opens, state }) => (state === "next" ? span(Date.parse(opens) - now) : "") },
    { name: "CLOSES", of: ({ closes, state }) => closes || (state === "never" ? "" : "never") },
    {
      name: "LASTS",
      of: ({ opens, closes }) =>
        closes === "" ? "" : span(Date.parse(closes) - Math.max(now, Date.parse(opens))),
    },
    { name: "WINDOWS", of: ({ windows }) => windows.join(","), wide: true },
    { name: "NOTE", of: ({ note }) => note },
  ];
  io.out(table(lines, columns, output === "wide"));
}
