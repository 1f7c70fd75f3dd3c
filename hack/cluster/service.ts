/** A process of Slipway's own: started, killed and started again under the same name and ports. */
import { join, resolve } from "node:path";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";

const MAIN = resolve(import.meta.dirname, "../../main.ts");
const READY_WITHIN = 30_000;

export class Service {
  readonly name: string;
  readonly metrics: string;
  readonly #args: readonly string[];
  readonly #logFile: string;
  #child: Child | undefined;

  /** `args` follow the role; `metrics` is `host:port` of /readyz and /metrics. */
  constructor(name: string, directory: string, metrics: string, args: readonly string[]) {
    this.name = name;
    this.metrics = metrics;
    this.#args = args;
    this.#logFile = join(directory, `${name}.log`);
  }

  get logFile(): string {
    return this.#logFile;
  }

  get pid(): number | undefined {
    return this.#child?.exit === undefined ? this.#child?.pid : undefined;
  }

  async start(): Promise<void> {
    const child = await Child.start({
      name: this.name,
      command: process.execPath,
      args: [MAIN, ...this.#args],
      logFile: this.#logFile,
      env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] },
    });
    this.#child = child;
  }

  /** Waits until /readyz answers 200. */
  async ready(): Promise<void> {
    await waitUntil(async () => (await fetch(`http://${this.metrics}/readyz`)).ok, {
      what: `${this.name} is ready`,
      deadline: READY_WITHIN,
      hopeless: () => this.#child?.obituary(),
    });
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  /** SIGTERM, and the exit code. */
  async stop(): Promise<void> {
    await this.#child?.stop(15_000);
  }

  freeze(): void {
    this.#child?.signal("SIGSTOP");
  }

  thaw(): void {
    this.#child?.signal("SIGCONT");
  }

  async metricsText(): Promise<string> {
    return (await fetch(`http://${this.metrics}/metrics`)).text();
  }
}
