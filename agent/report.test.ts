import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type Observed, ObservedSchema } from "../proto/gen/agent_pb.ts";
import { FakeClock } from "./fake-clock.ts";
import { Reporter } from "./report.ts";

const observed = (message: string): Observed => create(ObservedSchema, { message });

function reporter() {
  const clock = new FakeClock();
  const sent: string[] = [];
  let open = false;
  const made = new Reporter(clock, ({ message }) => {
    if (open) sent.push(message);
    return open;
  });
  return {
    ...{ clock, sent, made },
    opens: () => {
      open = true;
      made.carried();
    },
  };
}

test("what changes between Hello and the session's begin is reported", async () => {
  const { clock, sent, made, opens } = reporter();
  made.offer(observed("verifying"));
  expect(made.forHello()?.message).toBe("verifying");
  made.offer(observed("staged"));
  opens();
  await clock.advance(10_000);
  expect(sent).toEqual(["staged"]);
});

test("what the Hello carried is not reported again", async () => {
  const { clock, sent, made, opens } = reporter();
  made.offer(observed("staged"));
  made.forHello();
  opens();
  made.offer(observed("staged"));
  await clock.advance(10_000);
  expect(sent).toEqual([]);
});
