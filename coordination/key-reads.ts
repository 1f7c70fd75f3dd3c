/** Reads of single keys that many ask for at the same time: those that are asked for during one read go together into the next. */
import { type EtcdPort, EtcdUnavailable, type KeyValue } from "./etcd.ts";

/** Keys in one read: etcd's `--max-txn-ops` is 128. */
const AT_ONCE = 100;
/** Keys that wait: requests that a gateway hears at once are fewer. */
const MAX_WAITING = 10_000;

interface Waiting {
  key: string;
  resolve: (found: KeyValue | undefined) => void;
  reject: (error: unknown) => void;
}

export class KeyReads {
  readonly #etcd: Pick<EtcdPort, "read">;
  #waiting: Waiting[] = [];
  #reading = false;

  constructor(etcd: Pick<EtcdPort, "read">) {
    this.#etcd = etcd;
  }

  /** As it is at some time after the call. Throws `EtcdUnavailable`. */
  async read(key: string): Promise<KeyValue | undefined> {
    if (this.#waiting.length >= MAX_WAITING) {
      throw new EtcdUnavailable(`${this.#waiting.length} keys are waited for already`);
    }
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject });
      if (!this.#reading) void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    this.#reading = true;
    while (this.#waiting.length > 0) {
      const asked = this.#waiting.splice(0, AT_ONCE);
      try {
        const { results } = await this.#etcd.read(asked.map(({ key }) => ({ key })));
        for (const [i, { resolve }] of asked.entries()) resolve(results[i]?.[0]);
      } catch (error) {
        // Who waited meanwhile would wait as long again, and hear the same.
        for (const { reject } of [...asked, ...this.#waiting.splice(0)]) reject(error);
      }
    }
    this.#reading = false;
  }
}
