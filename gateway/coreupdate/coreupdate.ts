/** CoreUpdate's API of one gateway, put together: its users, the view, the writes, and the counts behind its graphs. */
import type { EtcdPort } from "../../coordination/etcd.ts";
import { createUpdateService, type UpdateService } from "../../coordination/update-service.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { AccessClient } from "../../runtime/access.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { WatchSources } from "../../runtime/watch-source.ts";
import type { Route } from "../edge/server.ts";
import { AccessReviewer } from "../objects/review.ts";
import { ObjectView } from "../objects/view.ts";
import { ObjectWriter } from "../objects/write.ts";
import { RequestCounts } from "../omaha/counts.ts";
import { coreUpdateRoutes } from "./route.ts";
import { UserFile } from "./users.ts";

export interface CoreUpdateSettings {
  /** See `users.ts`. */
  usersFile: string;
  etcd: EtcdPort;
  client: Pick<KubeClient, "get" | "apply" | "patch" | "delete">;
  access: Pick<AccessClient, "reviewAccess">;
  watches: WatchSources;
}

export interface CoreUpdateParts extends CoreUpdateSettings {
  /** Unique to this process. */
  gateway: string;
  clock: Clock;
  random: Random;
  log: Logger;
  meter: (call: string, status: number) => void;
}

export class CoreUpdateApi {
  /** Requests of machines, for Omaha's route to fill. */
  readonly counts: RequestCounts;
  readonly #parts: CoreUpdateParts;
  readonly #users: UserFile;
  readonly #view: ObjectView;
  readonly #service: UpdateService;

  private constructor(parts: CoreUpdateParts, users: UserFile) {
    const { clock, random, log, etcd, watches, gateway } = parts;
    this.#parts = parts;
    this.#users = users;
    this.#view = new ObjectView({ watches, clock, random, log });
    this.#service = createUpdateService({ etcd, clock, random, log });
    this.counts = new RequestCounts({ store: this.#service.counts, gateway, clock, log });
  }

  /** Throws where the file of users can't be used. */
  static async open(parts: CoreUpdateParts): Promise<CoreUpdateApi> {
    const { usersFile, clock, log } = parts;
    const users = await UserFile.open({ path: usersFile, clock, log });
    return new CoreUpdateApi(parts, users);
  }

  routes(): Route[] {
    const { client, access, clock, random, log, meter } = this.#parts;
    const reviewer = new AccessReviewer({ access, clock });
    return coreUpdateRoutes({
      ...{ objects: this.#view, client, service: this.#service, clock, random, log, meter },
      writer: new ObjectWriter({ client, reviewer, log }),
      users: () => this.#users.users,
    });
  }

  start(): void {
    this.#view.start();
    this.counts.start();
  }

  async stop(): Promise<void> {
    this.#users.stop();
    await Promise.all([this.#view.stop(), this.counts.stop()]);
  }
}
