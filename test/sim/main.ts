/** `npm run sim -- --seed N [--count M] [--verbose]`: runs schedules and says which rule broke. */
import { Command } from "commander";
import { runSchedule } from "./run.ts";

const options = new Command()
  .option("--seed <n>", "first seed", "1")
  .option("--count <n>", "schedules, of consecutive seeds", "1")
  .option("--verbose", "print every event")
  .option("--logs", "print what the processes log, too")
  .parse()
  .opts<{ seed: string; count: string; verbose?: boolean; logs?: boolean }>();

const first = Number.parseInt(options.seed, 10);
let broken = 0;
const total = { steps: 0, minutes: 0, faults: 0, updates: 0 };
let seed = first;
const sayHow = (): void => console.log(`To see it again: npm run sim -- --seed ${seed} --verbose`);
// What nobody awaited ends the process.
process.on("uncaughtExceptionMonitor", sayHow);
for (; seed < first + Number.parseInt(options.count, 10); seed++) {
  try {
    const result = await runSchedule(seed, {
      ...(options.verbose === true || options.logs === true ? { trace: (line) => console.log(line) } : {}),
      logs: options.logs === true,
    });
    total.steps += result.steps;
    total.minutes += result.time / 60_000;
    total.faults += result.faults;
    total.updates += result.updates;
  } catch (error) {
    broken += 1;
    console.log(
      error instanceof Error ? (error.name === "Violation" ? error.message : error.stack) : String(error),
    );
    sayHow();
  }
}
console.log(
  `${options.count} schedules, ${broken} broken: ${Math.round(total.minutes)} simulated minutes, ${total.steps} steps, ${total.faults} faults, ${total.updates} updates`,
);
process.exitCode = broken === 0 ? 0 : 1;
