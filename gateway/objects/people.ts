/** What a gateway needs where people read and write our objects through it: the view, the writer, and who may. */
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { RestClient } from "../../runtime/rest-client.ts";
import { AccessReviewer } from "./review.ts";
import { ObjectView } from "./view.ts";
import { ObjectWriter } from "./write.ts";

export interface PeopleOptions {
  /** Not the one of TokenReviews for agents: people must not take their turn. */
  client: Pick<RestClient, "get" | "apply" | "patch" | "watches" | "access">;
  clock: Clock;
  random: Random;
  log: Logger;
}

/** One for all that people use: the console, the CoreUpdate API, locksmith's `set-max`. */
export class People {
  readonly objects: ObjectView;
  readonly reviewer: AccessReviewer;
  readonly writer: ObjectWriter;

  constructor({ client, clock, random, log }: PeopleOptions) {
    this.objects = new ObjectView({ watches: client.watches, clock, random, log });
    this.reviewer = new AccessReviewer({ access: client.access, clock });
    this.writer = new ObjectWriter({ client, reviewer: this.reviewer, log });
  }
}
