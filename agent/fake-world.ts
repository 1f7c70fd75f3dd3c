/** Test support: one machine, its gateway, and the time in which they live. */
import { FakeClock } from "./fake-clock.ts";
import { FakeGateway } from "./fake-gateway.ts";
import { FakeMachine } from "./fake-machine.ts";

export interface World {
  clock: FakeClock;
  gateway: FakeGateway;
  machine: FakeMachine;
  until: (done: () => boolean, within?: number) => Promise<void>;
}

export function world(): World {
  const clock = new FakeClock();
  const gateway = new FakeGateway(clock);
  const machine = new FakeMachine(clock, gateway);
  const until = async (done: () => boolean, within = 600_000): Promise<void> => {
    await clock.advance(within, done);
    if (!done()) {
      throw new Error(`not reached; ${machine.log.join(", ")}; ${machine.agent?.observed?.message ?? ""}`);
    }
  };
  return { clock, gateway, machine, until };
}

export const lastReason = ({ machine }: World): string | undefined => machine.agent?.observed?.reason;
export const over = ({ gateway }: World): boolean =>
  gateway.grant === undefined || gateway.grant.phase === "Returned";
