/**
 * The main job, for real: a control plane, machines in 3 zones, and releases, of which some are bad.
 * Usage: npm run demo [-- --keep] [-- --real]. With --real the machines are three nodes with
 * containers, which needs root. Ends with 0 when everything went as it must.
 */

import { Board } from "../../cli/board.ts";
import { systemClock } from "../../ports/clock.ts";
import { observe } from "../cluster/observer.ts";
import { BOX_VARIABLE } from "../real/box.ts";
import { ToolError } from "../tools/cache.ts";
import { play, type Stage, seconds } from "./play.ts";
import { playedStage } from "./played.ts";
import { inBox, realStage } from "./real.ts";
import { summary } from "./summary.ts";

const keep = process.argv.includes("--keep");
const real = process.argv.includes("--real");
const board = new Board(
  {
    isTTY: process.stdout.isTTY,
    get columns() {
      return process.stdout.columns ?? 160;
    },
    write: (text) => process.stdout.write(text),
  },
  systemClock,
);
const begin = Date.now();

let stage: Stage | undefined;
let stopping = false;

if (real && process.env[BOX_VARIABLE] === undefined) await outside();
else await inside();

async function outside(): Promise<void> {
  try {
    process.exitCode = await inBox(process.argv.slice(1), (line) => board.say(line));
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    process.stderr.write(`slipway: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function inside(): Promise<void> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(130));
  try {
    stage = await (real ? realStage : playedStage)((line) => board.say(line));
    await play(stage, board);
    const verdict = summary(stage.machines, observe(stage.machines), stage.limit);
    board.say(verdict.text);
    board.say(`\nDone in ${seconds(begin)}.`);
    if (!verdict.ok) await stop(1);
    if (!keep) await stop(0);
    board.say(
      [
        "",
        "Everything stays up until Ctrl-C. Try:",
        stage.invitation(),
        "  kubectl get ug,rb,rw,nu,releases,channels",
        "  kubectl describe ug harbor",
        "  kubectl get nu -o wide",
        `  kubectl annotate node ${stage.machines[0]?.name} slipway.dev/hold="looking at it"`,
        "",
      ].join("\n"),
    );
    await new Promise(() => undefined);
  } catch (error) {
    board.say(
      `\nThe demo failed after ${seconds(begin)}: ${error instanceof Error ? error.message : String(error)}`,
    );
    await stop(1);
  }
}

async function stop(code: number): Promise<never> {
  if (!stopping) {
    stopping = true;
    await stage?.stop({ keepLogs: code !== 0 && code !== 130 });
  }
  process.exit(code);
}
