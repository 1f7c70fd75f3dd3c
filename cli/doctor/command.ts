/** `kubectl slipway doctor`: is Slipway installed right, and does it work? */
import { Command, InvalidArgumentError } from "commander";
import { Duration, parseDuration } from "../../api/duration.ts";
import { sleep } from "../../ports/clock.ts";
import { type GlobalFlags, withClient } from "../connection.ts";
import { Failure, type Io } from "../io.ts";
import { addOutputFlag, type OutputFlags, printData } from "../output.ts";
import { examine, summary, text } from "./checks.ts";
import { readFacts } from "./facts.ts";
import type { Line } from "./line.ts";

const LOOK_EVERY = 2000;

export function doctorCommand(io: Io): Command {
  const command = new Command("doctor")
    .description("Check an installation, and say what is wrong and what to do. Exit code 1 if something is.")
    .option("--wait <duration>", "look again until nothing is wrong, for so long at most: 90s, 5m", duration)
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & OutputFlags & { wait?: number }>();
      await withClient(flags, io, async (client) => {
        const begin = io.clock.monotonic();
        const until = begin + (flags.wait ?? 0);
        let lines: Line[];
        for (;;) {
          lines = examine(await readFacts(client, flags.namespace), io.clock.now());
          if (!isWrong(lines) || io.clock.monotonic() + LOOK_EVERY > until) break;
          await sleep(io.clock, LOOK_EVERY, io.signal);
        }
        const { output } = flags;
        if (output === "json" || output === "yaml") printData(io, lines, output);
        else io.out(`${text(lines)}\n${summary(lines, io.clock.monotonic() - begin)}`);
        if (isWrong(lines)) throw new Failure("something is wrong: see the lines that begin with fail");
      });
    });
  return addOutputFlag(command, ["json", "yaml"]);
}

function isWrong(lines: readonly Line[]): boolean {
  return lines.some(({ level }) => level === "fail");
}

function duration(value: string): number {
  if (!Duration.safeParse(value).success)
    throw new InvalidArgumentError("A duration such as 90s or 5m expected.");
  return parseDuration(value);
}
