/**
 * A process of Slipway's own: started, killed and started again under the same name and ports.
 * What ends by itself is started again, as a kubelet does with a Pod's container.
 */
import { join, resolve } from "node:path";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";

const MAIN = resolve(import.meta.dirname, "../../main.ts");
const READY_WITHIN = 60_000;
const RESTART_AFTER = 1_000;
/** Ends by itself after which it won't become ready. */
const HOPELESS_AFTER = 5;

export class Service {
  readonly name: string;
  readonly metrics: string;
  readonly #args: readonly string[];
  readonly #logFile: string;
  #child: Child | undefined;
  /** Raised by each start, kill and stop: what ends then was meant to. */
  #intent = 0;
  #restarts = 0;

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

  /** How often it ended by itself. */
  get restarts(): number {
    return this.#restarts;
  }

  async start(): Promise<void> {
    const intent = ++this.#intent;
    const child = await Child.start({
      name: this.name,
      command: process.execPath,
      args: [MAIN, ...this.#args],
      logFile: this.#logFile,
      env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] },
    });
    this.#child = child;
    void child.exited.then(() => {
      setTimeout(() => {
        if (intent !== this.#intent) return;
        this.#restarts += 1;
        void this.start();
      }, RESTART_AFTER).unref();
    });
  }

  /** Waits until /readyz answers 200. */
  async ready(): Promise<void> {
    const before = this.#restarts;
    await waitUntil(async () => (await fetch(`http://${this.metrics}/readyz`)).ok, {
      what: `${this.name} is ready`,
      deadline: READY_WITHIN,
      hopeless: () => {
        const ends = this.#restarts - before;
        return ends < HOPELESS_AFTER ? undefined : `it ended ${ends} times; its log is ${this.#logFile}`;
      },
    });
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#intent += 1;
    await this.#child?.kill();
  }

  /** SIGTERM, and the exit code. */
  async stop(): Promise<void> {
    this.#intent += 1;
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
