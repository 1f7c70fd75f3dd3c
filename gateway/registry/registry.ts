/**
 * The key spaces of one gateway, and the routes to them. The secret of a space is that of a group `registry/NAME`, which
 * `kubectl slipway machines secret` prints.
 */
import type { Coordination } from "../../coordination/coordination.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import type { MachineCredentials } from "../../pki/machine-credentials.ts";
import type { Address } from "../../ports/address.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { Route } from "../edge/server.ts";
import type { SlotLine } from "../slots/line.ts";
import { registryRoutes } from "./route.ts";
import type { SemaphoreOptions } from "./semaphore.ts";
import { setMaxBy } from "./set-max.ts";
import { Space } from "./space.ts";
import { limitsFor } from "./store.ts";

/** Each has a copy in memory, and its secret is compared with what is shown. */
const MAX_SPACES = 16;

export interface RegistrySettings {
  etcd: EtcdPort;
  /** Names of the key spaces. */
  spaces: readonly string[];
  /** Writes what locksmith's clients set. */
  client: Pick<KubeClient, "get" | "apply">;
  /** A listener of its own that serves the first of them to whoever reaches it. */
  plain?: Address;
}

export interface RegistryParts extends Omit<RegistrySettings, "plain"> {
  coordination: SemaphoreOptions["coordination"] & Pick<Coordination, "append">;
  line: SlotLine;
  credentials: MachineCredentials;
  /** Whether machines of a group need show nothing. */
  isOpen: (group: string) => boolean;
  clock: Clock;
  random: Random;
  log: Logger;
  /** Locksmith's clients take slots and give them back. */
  meter: SemaphoreOptions["meter"];
}

/** Nothing is read before somebody asks. */
export class Registry {
  readonly #parts: RegistryParts;
  readonly #spaces: ReadonlyMap<string, Space>;

  constructor(parts: RegistryParts) {
    const { spaces, etcd, clock, random, log } = parts;
    if (spaces.length > MAX_SPACES)
      throw new RangeError(`${spaces.length} key spaces; there are at most ${MAX_SPACES}`);
    this.#parts = parts;
    const limits = limitsFor(spaces.length);
    this.#spaces = new Map(
      spaces.map((name) => [name, new Space({ name, etcd, clock, random, log, limits })]),
    );
  }

  /** How full each space is that was read here; at 1 nothing can be added. */
  get fullness(): [space: string, share: number][] {
    return [...this.#spaces].flatMap(([name, { fullness }]) =>
      fullness === undefined ? [] : [[name, fullness]],
    );
  }

  /** For clients that show a secret, or, with `open`, for all that reach the listener. */
  routes({ secure, open }: { secure: boolean; open: boolean }): Route[] {
    const { coordination, line, credentials, isOpen, clock, log, spaces, client, meter } = this.#parts;
    const setMax = setMaxBy({ client, coordination, clock, log });
    const [first] = spaces;
    return registryRoutes({
      ...{ spaces: this.#spaces, isOpen, secure, clock, log },
      // No group of Kubernetes has a slash in its name, so that the secret of a space opens none.
      accepts: (space, shown) => credentials.accepts(shown, `registry/${space}`),
      ...(open && first !== undefined ? { open: first } : {}),
      semaphores: { coordination, line, clock, log, setMax, meter },
    });
  }

  close(): void {
    for (const space of this.#spaces.values()) space.close();
  }
}
