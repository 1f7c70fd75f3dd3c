/** Gateways that answer from memory, whose views are as old as a test wants them. For tests. */
import { expect } from "vitest";
import type { Coordination, FleetSnapshot } from "../../coordination/coordination.ts";
import { keys } from "../../coordination/keys.ts";
import { ForeignMachine, type GroupGate, type Offer } from "../../coordination/records.ts";
import type { EdgeRequest } from "../../gateway/edge/server.ts";
import { Sightings } from "../../gateway/machines/sightings.ts";
import { omahaRoute } from "../../gateway/omaha/route.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { silentLogger } from "../../ports/log.ts";
import { SeededRandom } from "../sim/random.ts";
import { LedRoom } from "../slots/led-room.ts";
import { OmahaMachine } from "./machine.ts";
import { offered } from "./offered.ts";
import { FLATCAR } from "./requests.ts";

export const GROUP = "workers";

/** One group, and what etcd has of it. */
/** What binds its machines. */
export const SERVED = { budgets: [`group/${GROUP}`], needs: 1000, open: true };

export class World {
  readonly led: LedRoom;
  #fleet: FleetSnapshot | undefined;

  private constructor(led: LedRoom) {
    this.led = led;
  }

  static async create(offer: Partial<Offer> = {}, max = 100): Promise<World> {
    const world = new World(await LedRoom.create());
    await world.publish(offer, max);
    return world;
  }

  get fleet(): FleetSnapshot {
    if (this.#fleet === undefined) throw new Error("nothing is published");
    return this.#fleet;
  }

  async look(): Promise<void> {
    this.#fleet = await this.led.room.readFleet();
  }

  async publish(offer: Partial<Offer> = {}, max = 100, gate: Partial<GroupGate> = {}): Promise<void> {
    const { led } = this;
    const validUntil = led.clock.now() + 30_000;
    const machines = SERVED;
    const { groups } = led.gates({ group: GROUP, machines, ...gate });
    const one = { group: GROUP, tracks: [GROUP], product: FLATCAR, share: 1, threshold: 100, validUntil };
    await led.room.writeGates(led.leader, {
      groups,
      budgets: [{ budget: `group/${GROUP}`, max, unavailable: [], validUntil }],
      offers: [{ ...one, ways: { amd64: [offered("1.1.0")] }, ...offer }],
    });
    await this.look();
  }

  /** All records as etcd has them. */
  stored(): Map<string, ForeignMachine> {
    const kept = [...this.led.etcd.records.values()].filter(({ key }) =>
      key.startsWith(keys.foreignMachines),
    );
    return new Map(
      kept.map(({ key, value }) => [
        key.slice(keys.foreignMachines.length),
        ForeignMachine.parse(JSON.parse(value)),
      ]),
    );
  }

  /** Lets what gateways gather be written. */
  async settle(): Promise<void> {
    this.led.pass(2000);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A gateway whose view is what `sync` saw last, and fresh, whatever happened since. */
export class StaleGateway {
  readonly #world: World;
  fresh = true;
  known = new Map<string, ForeignMachine>();
  readonly calls: string[] = [];
  full = false;
  readonly outcomes: string[] = [];
  readonly #route: ReturnType<typeof omahaRoute>;
  readonly sightings: Sightings;

  constructor(world: World) {
    this.#world = world;
    const { led } = world;
    const coordination = new Proxy(led.room, {
      get: (room, name: keyof Coordination) => {
        this.calls.push(name);
        return room[name];
      },
    });
    const ports = { clock: led.clock, random: new SeededRandom(7), log: silentLogger };
    this.sightings = new Sightings({ coordination, ...ports });
    const [isFresh, isFull] = [() => this.fresh, () => this.full];
    const get = (uid: string) => this.known.get(uid);
    this.#route = omahaRoute({
      ...{ coordination, ...ports, fleet: () => world.fleet, sightings: this.sightings },
      machines: {
        get fresh() {
          return isFresh();
        },
        get full() {
          return isFull();
        },
        get,
      },
      credentials: new MachineCredentials([]),
      isOpen: () => true,
      meter: (outcome) => this.outcomes.push(outcome),
      unknown: () => {},
    });
  }

  sync(): void {
    this.known = this.#world.stored();
  }

  async post(xml: string): Promise<string> {
    const request = { method: "POST", path: "/v1/update/", body: Buffer.from(xml) };
    const { status, body } = await this.#route.answer(request as unknown as EdgeRequest);
    expect(status).toBe(200);
    return String(body);
  }
}

/** A machine that asks at `at`, which may be changed. */
export function machineOf(n: number, at: () => StaleGateway): OmahaMachine {
  return new OmahaMachine(n, "1.0.0", (xml) => at().post(xml));
}
