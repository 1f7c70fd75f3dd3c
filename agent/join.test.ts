import { expect, test } from "vitest";
import { FakeClock } from "./fake-clock.ts";
import { keepIdentity } from "./join.ts";

test("a certificate is looked at while a session lasts, whatever came of the last look, until the end", async () => {
  const clock = new FakeClock();
  let looks = 0;
  const cancel = keepIdentity(clock, async () => {
    looks += 1;
    throw new Error("no gateway");
  });
  await clock.advance(24 * 3_600_000);
  expect(looks).toBe(24);
  cancel();
  await clock.advance(24 * 3_600_000);
  expect(looks).toBe(24);
});
