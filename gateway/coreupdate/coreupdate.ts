/** CoreUpdate's API of one gateway, put together: its users, its calls, and the counts behind its graphs. */
import type { Coordination } from "../../coordination/coordination.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { createUpdateService, type UpdateService } from "../../coordination/update-service.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { RestClient } from "../../runtime/rest-client.ts";
import type { Route } from "../edge/server.ts";
import { type FollowedFiles, followFile } from "../followed-files.ts";
import type { People } from "../objects/people.ts";
import { RequestCounts } from "../omaha/counts.ts";
import { PayloadDeposit } from "../payloads/deposit.ts";
import { coreUpdateRoutes } from "./route.ts";
import { Uploads } from "./upload.ts";
import { parseUsers, type User } from "./users.ts";

export interface CoreUpdateSettings {
  /** See `users.ts`. */
  usersFile: string;
  /** Directory of the payloads that uploads are put into; none are taken where it is absent. */
  uploads?: string;
  /** Not the one of TokenReviews for agents. */
  client: Pick<RestClient, "get" | "apply" | "patch" | "delete" | "watches" | "access">;
}

export interface CoreUpdateParts extends Omit<CoreUpdateSettings, "client"> {
  client: Pick<RestClient, "get" | "delete">;
  etcd: EtcdPort;
  coordination: Pick<Coordination, "readForeignMachine">;
  people: Pick<People, "objects" | "writer">;
  machines: Iterable<[uid: string, machine: ForeignMachine]>;
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
  readonly #users: FollowedFiles<ReadonlyMap<string, User>>;
  readonly #service: UpdateService;
  readonly #uploads: Uploads | undefined;

  private constructor(
    parts: CoreUpdateParts,
    users: FollowedFiles<ReadonlyMap<string, User>>,
    uploads: Uploads | undefined,
  ) {
    const { clock, random, log, etcd, gateway } = parts;
    this.#parts = parts;
    this.#users = users;
    this.#uploads = uploads;
    this.#service = createUpdateService({ etcd, clock, random, log });
    this.counts = new RequestCounts({ store: this.#service.counts, gateway, clock, log });
  }

  /** Throws where the file of users can't be used. */
  static async open(parts: CoreUpdateParts): Promise<CoreUpdateApi> {
    const { usersFile, uploads: root, clock, random, log } = parts;
    const users = await followFile({
      ...{ path: usersFile, what: "users of the CoreUpdate API", parse: parseUsers },
      ...{ clock, log },
    });
    const deposit = root === undefined ? undefined : new PayloadDeposit({ root, clock, random });
    // A directory that can't be read must not keep the other protocols away.
    deposit?.clean().catch((error: unknown) => log.error("can't tidy the directory of payloads", error));
    return new CoreUpdateApi(parts, users, deposit && new Uploads(deposit));
  }

  routes(): Route[] {
    const { client, people, machines, coordination, clock, random, log, meter } = this.#parts;
    const { objects, writer } = people;
    return coreUpdateRoutes({
      ...{ objects, writer, machines, coordination, client, service: this.#service },
      ...{ clock, random, log, meter },
      ...(this.#uploads === undefined ? {} : { uploads: this.#uploads }),
      users: () => this.#users.current,
    });
  }

  start(): void {
    this.counts.start();
  }

  async stop(): Promise<void> {
    this.#users.stop();
    await this.counts.stop();
  }
}
