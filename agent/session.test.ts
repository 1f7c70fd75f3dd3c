import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { silentLogger } from "../ports/log.ts";
import { HelloSchema, type SessionResponse, SessionResponseSchema } from "../proto/gen/agent_pb.ts";
import { FakeClock } from "./fake-clock.ts";
import { GatewaySession } from "./session.ts";
import type { TransportHandlers } from "./transport.ts";

function world(draw: () => number) {
  const clock = new FakeClock();
  const attempts: { at: number; handlers: TransportHandlers }[] = [];
  const events: string[] = [];
  const session = new GatewaySession({
    clock,
    random: { next: draw, uuid: () => "" },
    log: silentLogger,
    transport: {
      connect: (handlers) => {
        attempts.push({ at: clock.monotonic(), handlers });
        return { send: () => {}, close: () => handlers.closed("closed by the agent") };
      },
    },
    handlers: {
      hello: () => create(HelloSchema),
      handshake: () => {},
      opened: () => events.push("opened"),
      message: (body) => events.push(body.case ?? ""),
      closed: () => events.push("closed"),
    },
  });
  const say = (body: SessionResponse["body"]): void =>
    attempts.at(-1)?.handlers.message(create(SessionResponseSchema, { body }));
  const welcome = (): void =>
    say({ case: "welcome", value: { $typeName: "slipway.agent.v1.Welcome", session: 1n, nowMs: 0n } });
  const gaps = (): number[] => attempts.slice(1).map(({ at }, index) => at - (attempts[index]?.at ?? 0));
  return { clock, session, attempts, events, say, welcome, gaps };
}

describe("a session", () => {
  it("is tried again later and later, and never later than 30 s", async () => {
    const w = world(() => 1);
    w.session.start();
    for (let count = 0; count < 8; count++) {
      const known = w.attempts.length;
      w.attempts.at(-1)?.handlers.closed("refused");
      await w.clock.advance(60_000, () => w.attempts.length > known);
    }
    expect(w.gaps()).toEqual([1_500, 4_500, 13_500, 30_000, 30_000, 30_000, 30_000, 30_000]);
  });

  it("never waits less than half a second", async () => {
    const w = world(() => 0);
    w.session.start();
    w.attempts.at(-1)?.handlers.closed("refused");
    await w.clock.advance(60_000, () => w.attempts.length > 1);
    expect(w.gaps()).toEqual([500]);
  });

  it("begins from the shortest wait after one that lived", async () => {
    const w = world(() => 1);
    w.session.start();
    for (const lived of [0, 0, 20_000]) {
      w.welcome();
      await w.clock.advance(lived, () => false);
      const known = w.attempts.length;
      w.attempts.at(-1)?.handlers.closed("reset");
      await w.clock.advance(60_000, () => w.attempts.length > known);
    }
    expect(w.gaps()).toEqual([1_500, 4_500, 21_500]);
  });

  it("waits as long as the gateway asks", async () => {
    const w = world(() => 0);
    w.session.start();
    w.welcome();
    w.say({
      case: "goAway",
      value: { $typeName: "slipway.agent.v1.GoAway", reason: "MaxAge", retryAfterMs: 7_000 },
    });
    await w.clock.advance(60_000, () => w.attempts.length > 1);
    expect(w.gaps()).toEqual([7_000]);
    expect(w.events).toEqual(["opened", "closed"]);
  });

  it("is given up where no Welcome comes", async () => {
    const w = world(() => 0);
    w.session.start();
    await w.clock.advance(60_000, () => w.attempts.length > 1);
    expect(w.gaps()).toEqual([30_500]);
  });

  it("passes nothing on before Welcome, and connects no more once stopped", async () => {
    const w = world(() => 0);
    w.session.start();
    w.say({ case: "desired", value: create(SessionResponseSchema).body.value as never });
    expect(w.events).toEqual([]);
    w.session.stop();
    await w.clock.advance(600_000);
    expect(w.attempts).toHaveLength(1);
    expect(w.session.send({ case: "hello", value: create(HelloSchema) })).toBe(false);
  });
});
