/**
 * A rule of design section 5 that was broken in a simulated world; rule 0 is liveness. The
 * message has the seed and no command: a run with settings, plan or plants of its own is more
 * than its seed. `main.ts`, whose runs are not, adds the command.
 */
export class Violation extends Error {
  readonly rule: number;

  constructor(rule: number, seed: number, time: number, where: string, what: string) {
    super(
      `${rule === 0 ? "liveness" : `rule ${rule}`} broken at ${(time / 1000).toFixed(1)} s, ${where}: ${what} (seed ${seed})`,
    );
    this.name = "Violation";
    this.rule = rule;
  }
}
