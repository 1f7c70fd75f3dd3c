/** One lease a day for what ends by itself after some days: a lease for each key would be as many as keys. */
import { AlwaysRefused, type Ports } from "./transact.ts";

export const DAY = 86_400_000;

export class DayLease {
  readonly #ports: Pick<Ports, "etcd" | "clock">;
  readonly #days: number;
  #current: { day: number; id: Promise<string> } | undefined;

  /** `days`: what hangs on it ends so many days after the day in which it was written. */
  constructor(ports: Pick<Ports, "etcd" | "clock">, days: number) {
    this.#ports = ports;
    this.#days = days;
  }

  /** Its id, for a put today. Throws `EtcdUnavailable`. */
  async id(): Promise<string> {
    const { etcd, clock } = this.#ports;
    const day = Math.floor(clock.now() / DAY);
    if (this.#current?.day !== day) {
      const until = (day + 1 + this.#days) * DAY;
      const id = etcd.leaseOnce(Math.ceil((until - clock.now()) / 1000));
      this.#current = { day, id };
    }
    try {
      return await this.#current.id;
    } catch (error) {
      this.#current = undefined;
      throw error;
    }
  }

  /**
   * Does `work` with it. Where etcd refused each try the lease may be gone with etcd's data: the next has another. Not
   * where etcd gave no answer, since leases of days that nothing hangs on would come to be many.
   */
  async use<T>(work: (lease: string) => Promise<T>): Promise<T> {
    const lease = await this.id();
    try {
      return await work(lease);
    } catch (error) {
      if (error instanceof AlwaysRefused) this.forget();
      throw error;
    }
  }

  /** A put was refused: the lease may be gone with etcd's data, and the next is another one. */
  forget(): void {
    this.#current = undefined;
  }
}
