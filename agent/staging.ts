/** The one long act: writing the passive slot, in the background, so that the loop still listens. */
import type { Why } from "../api/reasons.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { Desired, Target } from "../proto/gen/agent_pb.ts";
import { consentsOf, type Driver, ImageRefused } from "./driver.ts";
import type { Run } from "./situation.ts";

/** Wait after a failure, ms: doubles up to the longest. A refused image waits the longest at once. */
const FIRST_RETRY = 15_000;
const LONGEST_RETRY = 900_000;

interface StagingOptions {
  driver: Driver;
  clock: Clock;
  random: Random;
  log: Logger;
  /** Its `staging` and `stagingFailed` are kept here. */
  run: Run;
  /** Something changed that the loop should look at. */
  changed: (what: "progress" | "end") => void;
}

export class Staging {
  readonly #options: StagingOptions;
  #controller: AbortController | undefined;
  #ended: Promise<void> = Promise.resolve();
  #failures = { rootHash: "", count: 0 };

  constructor(options: StagingOptions) {
    this.#options = options;
  }

  start(target: Target, desired: Desired, floor: string): void {
    const controller = new AbortController();
    this.#controller = controller;
    this.#options.run.staging = { rootHash: target.rootHash, progress: undefined };
    this.#ended = this.#stage(target, desired, floor, controller.signal);
  }

  /** Resolves once nothing is written any more. */
  async abort(): Promise<void> {
    this.#controller?.abort(new Error("staging was aborted"));
    await this.#ended;
  }

  async #stage(target: Target, desired: Desired, floor: string, signal: AbortSignal): Promise<void> {
    const { driver, run, changed, log, clock } = this.#options;
    const started = clock.monotonic();
    log.info("staging begins", { release: target.release, version: target.version });
    try {
      await driver.stage(target, {
        signal,
        rateLimit: Number(desired.policy?.rateLimitBytesPerSecond ?? 0n),
        ...consentsOf(desired, floor),
        onProgress: (progress) => {
          if (run.staging !== undefined) run.staging.progress = progress;
          changed("progress");
        },
      });
      const { fetched, reused } = run.staging?.progress ?? {};
      log.info("staged", { version: target.version, ms: clock.monotonic() - started, fetched, reused });
      run.stagingFailed = undefined;
      this.#failures = { rootHash: "", count: 0 };
    } catch (error) {
      if (!signal.aborted) this.#failed(target, error);
    } finally {
      run.staging = undefined;
      changed("end");
    }
  }

  #failed(target: Target, error: unknown): void {
    const { run, random, log, clock } = this.#options;
    log.error("staging failed", error, { release: target.release });
    const { rootHash } = target;
    const count = this.#failures.rootHash === rootHash ? this.#failures.count + 1 : 1;
    this.#failures = { rootHash, count };
    const refused = error instanceof ImageRefused ? error.reason : undefined;
    const wait = refused
      ? LONGEST_RETRY
      : Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** Math.min(count - 1, 10));
    const message = error instanceof Error ? error.message : String(error);
    const why: Why = { reason: refused ?? "StagingFailed", message: message.slice(0, 1000) };
    run.stagingFailed = { rootHash, retryAt: clock.monotonic() + wait * (0.75 + random.next() / 2), why };
  }
}
