/**
 * A supervised child process: a process group of its own, a log file that outlives it, and an
 * end that comes for sure. The kernel kills the child when this process dies in any way
 * (setpriv(1) --pdeathsig: prctl(2) PR_SET_PDEATHSIG), so that no test leaves a daemon behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, closeSync, constants, openSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { within } from "./wait.ts";

export interface ChildOptions {
  /** For messages: "etcd", "kube-apiserver". */
  name: string;
  command: string;
  args: readonly string[];
  /** Appended to; stdout and stderr both. */
  logFile: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class Child {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves once the child is gone and reaped; never rejects. */
  readonly exited: Promise<Exit>;
  #exit: Exit | undefined;

  private constructor(options: ChildOptions, process: ChildProcess, pid: number) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.pid = pid;
    this.exited = new Promise((resolve) => {
      process.once("exit", (code, signal) => {
        this.#exit = { code, signal };
        living.delete(this);
        resolve(this.#exit);
      });
    });
    living.add(this);
  }

  /** Starts the program; rejects where it can't be executed. */
  static async start(options: ChildOptions): Promise<Child> {
    superviseOnce();
    const log = openSync(options.logFile, "a");
    try {
      const [command, args] = withDeathSignal(options.command, options.args);
      const process = spawn(command, args, {
        detached: true,
        stdio: ["ignore", log, log],
        env: options.env,
        cwd: options.cwd,
      });
      const pid = process.pid;
      if (pid === undefined) {
        const error = await new Promise<Error>((resolve) => process.once("error", resolve));
        throw new Error(`${options.name} can't be started: ${error.message}`, { cause: error });
      }
      process.on("error", () => undefined);
      return new Child(options, process, pid);
    } finally {
      closeSync(log);
    }
  }

  /** How it ended; undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Sends a signal to the whole process group; nothing happens when it is gone. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit !== undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group ended between the look and the signal.
    }
  }

  /** SIGKILL, and waits until it is reaped. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await within(10_000, `${this.name} (pid ${this.pid}) ends after SIGKILL`, this.exited);
  }

  /** SIGTERM, then SIGKILL after `grace` milliseconds. */
  async stop(grace = 5_000): Promise<void> {
    this.signal("SIGTERM");
    this.signal("SIGCONT");
    try {
      await within(grace, `${this.name} ends after SIGTERM`, this.exited);
    } catch {
      await this.kill();
    }
  }

  /** Why it can't become ready any more, with the end of its log; undefined while it runs. */
  obituary(): string | undefined {
    if (this.#exit === undefined) return undefined;
    const { code, signal } = this.#exit;
    return `${this.name} ended with ${signal ?? `exit code ${code}`}; its log ${this.logFile} ends:\n${this.logTail()}`;
  }

  /** The last lines of the log. */
  logTail(lines = 12): string {
    return readFileSync(this.logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  }
}

const living = new Set<Child>();
const temporary = new Set<string>();
let supervised = false;

/** A directory to remove when this process ends; `forget` keeps it, because somebody wants its logs. */
export function removeAtExit(directory: string): { forget(): void } {
  superviseOnce();
  temporary.add(directory);
  return { forget: () => temporary.delete(directory) };
}

function superviseOnce(): void {
  if (supervised) return;
  supervised = true;
  process.once("exit", reapAll);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    const onSignal = (): void => {
      if (process.listenerCount(signal) > 1) return;
      reapAll();
      process.removeListener(signal, onSignal);
      process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}

function reapAll(): void {
  for (const child of living) child.signal("SIGKILL");
  for (const directory of temporary) {
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

let setpriv: string | false | undefined;

function withDeathSignal(command: string, args: readonly string[]): [string, readonly string[]] {
  setpriv ??= onPath("setpriv") ?? false;
  if (setpriv === false) return [command, args];
  return [setpriv, ["--pdeathsig", "KILL", "--", command, ...args]];
}

/** The first executable `name` on a PATH; undefined without one. */
export function onPath(name: string, path = process.env.PATH ?? ""): string | undefined {
  for (const folder of path.split(delimiter)) {
    if (folder === "") continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}
