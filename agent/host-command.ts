/** Programs on the host: run without a shell, each with a deadline. */
import { execFile } from "node:child_process";
import { get } from "node:http";
import { get as getSecure } from "node:https";
import * as z from "zod";

export interface Ran {
  /** Undefined where the deadline ended it. */
  code: number | undefined;
  stdout: string;
  stderr: string;
}

const MAX_OUTPUT = 64 * 1024;

/** Rejects if the program can't be started; a failing exit code is a result. */
export function runProgram(argv: readonly string[], timeoutMs: number): Promise<Ran> {
  const [file = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: MAX_OUTPUT } as const;
    execFile(file, args, options, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr });
      else if (typeof error.code === "number") resolve({ code: error.code, stdout, stderr });
      else if (error.killed === true) resolve({ code: undefined, stdout, stderr });
      else if (error.signal) resolve({ code: 128, stdout, stderr });
      else reject(new Error(`can't run ${file}: ${error.message}`));
    });
  });
}

/** Rejects unless `argv` exits with 0 in time; the message carries the end of what it wrote to stderr. */
export async function mustRun(argv: readonly string[], timeoutMs: number): Promise<string> {
  const { code, stdout, stderr } = await runProgram(argv, timeoutMs);
  if (code === 0) return stdout;
  const what = code === undefined ? `did not end within ${timeoutMs} ms` : `exited with ${code}`;
  throw new Error(`${argv.join(" ")} ${what}: ${stderr.trim().slice(-500) || "no message"}`);
}

/** The machine's allow list, `{name: [program, argument, ...]}`: the only commands that a group's checks can name. */
export const Commands = z.record(z.string().min(1).max(63), z.array(z.string().max(4096)).min(1).max(64));
export type Commands = z.output<typeof Commands>;

/** The exit code of a command of the allow list; 124, as timeout(1) has it, where it took too long. */
export async function runAllowed(commands: Commands, name: string, timeoutMs: number): Promise<number> {
  const argv = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (argv === undefined) throw new Error(`the command ${name} is not on this machine's allow list`);
  return (await runProgram(argv, timeoutMs)).code ?? 124;
}

/**
 * Whether a GET answers 2xx in time; redirects are not followed. Not by
 * `fetch`: see fastpatch/http-source.ts. `localAddress` is where this machine's own services
 * listen: a URL that names the loopback is asked there.
 */
export async function httpOk(url: string, timeoutMs: number, localAddress = "127.0.0.1"): Promise<boolean> {
  try {
    const address = new URL(url);
    if (address.hostname === "localhost" || address.hostname === "127.0.0.1") address.hostname = localAddress;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const options = { agent: false, signal: AbortSignal.timeout(timeoutMs) };
    const begin = address.protocol === "https:" ? getSecure : get;
    begin(address, options, (response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    }).on("error", reject);
    const status = await promise;
    return status >= 200 && status < 300;
  } catch {
    return false;
  }
}

/** Node's name of the processor as the protocol has it. */
export function hostArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}
