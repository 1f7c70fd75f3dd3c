/** Sessions over a coordination in memory and a clock that a test moves: for tests. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect } from "vitest";
import { silentLogger } from "../../ports/log.ts";
import {
  type Observed,
  ObservedSchema,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../proto/gen/agent_pb.ts";
import { FakeClock, fakeRandom, settle } from "../fake-clock.ts";
import { FakeCoordination } from "../fake-coordination.ts";
import { FleetView } from "../fleet-view.ts";
import type { Identity } from "./authenticate.ts";
import { type AgentSession, defaultSessionLimits, type SessionMeter } from "./session.ts";
import { SessionTable } from "./session-table.ts";

export const UID = "0f3c9e6e-3a4b-4b57-9a39-a0a5b2f5f6d1";
export const MACHINE = "0123456789abcdef0123456789abcdef";
export const boot = { bootId: "b1", softReboots: 0 };
export const TOKEN = { incarnation: "one", revision: 7n };
const quiet: SessionMeter = {
  received() {},
  sent() {},
  commit() {},
  unavailable() {},
  ended() {},
};

type Body = NonNullable<MessageInitShape<typeof SessionRequestSchema>["body"]>;

export function request(body: Body): SessionRequest {
  return create(SessionRequestSchema, { body });
}

export function hello(observed?: Observed): SessionRequest {
  return request({
    case: "hello",
    value: {
      agentVersion: "1",
      machineId: MACHINE,
      architecture: "amd64",
      boot,
      ...(observed === undefined ? {} : { observed }),
    },
  });
}

export function observed(step: string): Observed {
  return create(ObservedSchema, { boot, step, machineId: MACHINE });
}

/** One gateway over a coordination that others may share. */
export class World {
  readonly clock: FakeClock;
  readonly coordination: FakeCoordination;
  readonly view: FleetView;
  readonly table: SessionTable;
  lease: string | undefined = "1";

  constructor(name = "gateway-1", coordination = new FakeCoordination(), clock = new FakeClock()) {
    this.clock = clock;
    this.coordination = coordination;
    const log = silentLogger;
    this.view = new FleetView({
      coordination,
      clock,
      log,
      unavailable() {},
      onRead: (read) => this.table.apply(read),
    });
    this.table = new SessionTable({
      gateway: name,
      coordination,
      lease: () => this.lease,
      refresh: () => this.view.refresh(),
      clock,
      random: fakeRandom(),
      log,
      meter: quiet,
      limits: defaultSessionLimits,
    });
    this.view.start();
  }

  connect(identity: Identity = { uid: UID, node: "node-1" }): Peer {
    return new Peer(this, identity);
  }
}

type BodyOf<K> = Extract<SessionResponse["body"], { case: K }>["value"];

/** The agent's end of a session. */
export class Peer {
  readonly got: SessionResponse["body"][] = [];
  readonly session: AgentSession;
  ended: string | undefined;

  constructor(world: World, identity: Identity) {
    this.session = world.table.connect(identity, {
      send: (response) => void this.got.push(response.body),
      end: (reason) => {
        this.ended = reason;
      },
    });
  }

  get kinds(): (string | undefined)[] {
    return this.got.map((body) => body.case);
  }

  last<K extends NonNullable<SessionResponse["body"]["case"]>>(kind: K): BodyOf<K> {
    const body = this.got.findLast((each) => each.case === kind);
    expect(body, `no ${kind} among ${this.kinds.join(", ")}`).toBeDefined();
    return body?.value as BodyOf<K>;
  }

  count(kind: string): number {
    return this.kinds.filter((each) => each === kind).length;
  }

  async say(...requests: SessionRequest[]): Promise<void> {
    for (const each of requests) this.session.receive(each);
    await settle();
  }
}

/** An open session of `UID` that was told its records. */
export async function opened(world: World): Promise<Peer> {
  const peer = world.connect();
  await peer.say(hello());
  await world.clock.advance(50);
  return peer;
}
