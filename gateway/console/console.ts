/** The console of a gateway, put together: the board, its JSON API, the ways to sign in, and the page. */
import { openApi } from "../../console/openapi.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { MachineView } from "../../coordination/machine-view.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { Fetcher } from "../../runtime/fetch.ts";
import type { RestClient } from "../../runtime/rest-client.ts";
import type { Route } from "../edge/server.ts";
import type { FleetRead } from "../fleet-view.ts";
import type { People } from "../objects/people.ts";
import { Door } from "../sign-in/door.ts";
import { Oidc, type OidcSettings } from "../sign-in/oidc.ts";
import { signInRoute } from "../sign-in/route.ts";
import { Seal } from "../sign-in/seal.ts";
import { Sessions } from "../sign-in/session.ts";
import { Tokens } from "../sign-in/tokens.ts";
import { accountHandlers } from "./account.ts";
import { apiRoute } from "./api.ts";
import { Assigner } from "./assign.ts";
import { Board } from "./board.ts";
import { filesRoute, type PageFiles } from "./files.ts";
import { ForeignMachines } from "./foreign.ts";
import { History } from "./history.ts";
import { Lines } from "./lines.ts";
import { Refused } from "./problem.ts";
import { ReadHandlers } from "./reads.ts";
import { VersionSeries } from "./versions.ts";
import { WriteHandlers } from "./writes.ts";

export interface ConsoleSettings {
  /** As browsers reach it, such as `https://slipway.example.org`; what they say in `Host` where it is absent. */
  origin?: string | undefined;
  /** Whether browsers reach it by TLS, at this listener or at one in front. */
  secure: boolean;
  /** Of sessions, newest first; the same for all gateways. */
  keys: readonly Buffer[];
  oidc?: (OidcSettings & { fetcher: Pick<Fetcher, "fetch"> }) | undefined;
  /** The page; without files only the API is served. */
  files: PageFiles;
}

export interface ConsoleOptions extends ConsoleSettings {
  people: People;
  client: Pick<RestClient, "access" | "get">;
  machines: MachineView;
  coordination: Coordination;
  clock: Clock;
  random: Random;
  log: Logger;
}

export class Console {
  readonly routes: readonly Route[];
  readonly #options: ConsoleOptions;
  readonly #foreign: ForeignMachines;
  readonly #board: Board;
  readonly #history: History;
  readonly #versions: VersionSeries;
  readonly #lines: Lines;
  readonly #stop = new AbortController();
  #fleetAsOf: number | undefined;
  #unwatch: (() => void) | undefined;
  #running: Promise<unknown> | undefined;

  /** Throws where the settings can't work together. */
  constructor(options: ConsoleOptions) {
    const { people, client, coordination, clock, random, log, secure, origin, keys } = options;
    const { objects, reviewer, writer } = people;
    this.#options = options;
    this.#foreign = new ForeignMachines(options.machines);
    this.#board = new Board({ objects, foreign: this.#foreign, clock });
    this.#history = new History({
      ...{ coordination, clock, log },
      onNew: (entries) => this.#board.addActivity(entries),
    });
    this.#versions = new VersionSeries({
      ...{ coordination, clock, log },
      machines: () => (objects.synced ? this.#board.machines.values() : undefined),
    });
    this.#lines = new Lines({
      ...{ coordination, clock, log },
      served: () => objects.groups.list().some(({ spec }) => spec.machines !== undefined),
      onRead: (waiting) => this.#board.setWaiting(waiting),
    });
    const sessions = new Sessions({ seal: new Seal(keys, "session", random), secure, clock });
    const tokens = new Tokens({ access: client.access, clock });
    const door = new Door({ sessions, tokens, origin, clock });
    const reads = new ReadHandlers({
      ...{
        board: this.#board,
        foreign: this.#foreign,
        history: this.#history,
        coordination,
        versions: this.#versions,
        objects,
      },
      ...{ door, reviewer, clock, etcdAsOf: () => this.#etcdAsOf },
      epoch: random.uuid().slice(0, 8),
    });
    const demandFresh = (): void => {
      const { stale } = reads.freshness();
      if (stale === undefined) return;
      throw new Refused("Unavailable", `${stale} Nothing is changed on old knowledge: try again later.`);
    };
    const assigner = new Assigner({
      objects,
      board: this.#board,
      foreign: this.#foreign,
      writer,
      client,
      coordination,
    });
    const writes = new WriteHandlers({
      ...{
        objects,
        board: this.#board,
        foreign: this.#foreign,
        writer,
        assigner,
        coordination,
        demandFresh,
        clock,
        log,
      },
    });
    const handlers = {
      ...accountHandlers({ door, sessions, reviewer, clock, oidc: options.oidc?.issuer }),
      ...reads.handlers,
      ...writes.handlers,
    };
    this.routes = [
      apiRoute({ door, reviewer, handlers }),
      documentRoute(),
      ...(options.oidc === undefined ? [] : [signInRoute(this.#signIn(options.oidc, sessions, door))]),
      filesRoute(options.files),
    ];
  }

  start(): void {
    const { signal } = this.#stop;
    this.#board.start();
    this.#unwatch = this.#options.machines.onChange((uids) => this.#board.foreignChanged(uids));
    this.#running ??= Promise.all(
      [this.#history, this.#versions, this.#lines].map((reader) => reader.run(signal)),
    );
  }

  /** What etcd says of the fleet, each time that it is read. */
  onFleet(fleet: FleetRead["fleet"]): void {
    this.#fleetAsOf = this.#options.clock.now();
    if (this.#foreign.setGates(fleet.groupGates)) this.#board.foreignChanged(undefined);
    const changed = this.#foreign.setGrants(fleet.grants);
    if (changed.size > 0) this.#board.foreignChanged(changed);
  }

  /** Wall clock, ms: until then all that is shown of etcd is known to be the present. */
  get #etcdAsOf(): number {
    const fleet = this.#fleetAsOf ?? 0;
    // Machines without our agent are read in pages: until the last one came, what there is of them is new.
    return Math.min(fleet, this.#options.machines.asOf ?? fleet, this.#lines.asOf ?? fleet);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#unwatch?.();
    this.#board.stop();
    await this.#running;
  }

  #signIn(
    settings: NonNullable<ConsoleSettings["oidc"]>,
    sessions: Sessions,
    door: Door,
  ): Parameters<typeof signInRoute>[0] {
    const { origin, keys, clock, random, log } = this.#options;
    if (origin === undefined)
      throw new Error("OpenID Connect needs the console's own address (--console-url)");
    const seal = new Seal(keys, "sign-in", random);
    return { oidc: new Oidc({ ...settings, seal, clock, random }), sessions, door, origin, log };
  }
}

function documentRoute(): Route {
  const body = `${JSON.stringify(openApi(), undefined, 2)}\n`;
  return {
    prefix: "/openapi.json",
    maxBody: 0,
    answer: async () => ({ status: 200, type: "application/json", body }),
  };
}
