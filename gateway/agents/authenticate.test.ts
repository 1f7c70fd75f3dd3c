import { expect, test } from "vitest";
import { silentLogger } from "../../ports/log.ts";
import { ApiError, type TokenReviewResult } from "../../runtime/client.ts";
import { FakeClock } from "../fake-clock.ts";
import { Authenticator, CannotAsk, Refused } from "./authenticate.ts";

function setUp(review: (token: string) => Promise<Partial<TokenReviewResult>>) {
  const clock = new FakeClock();
  let asked = 0;
  const authenticator = new Authenticator({
    client: {
      async tokenReview(token) {
        asked += 1;
        const good: TokenReviewResult = {
          authenticated: true,
          username: "system:serviceaccount:slipway-system:agent",
          extra: {
            "authentication.kubernetes.io/node-name": ["n1"],
            "authentication.kubernetes.io/node-uid": ["u1"],
          },
          audiences: ["slipway"],
          error: "",
        };
        return { ...good, ...(await review(token)) };
      },
    },
    audience: "slipway",
    serviceAccounts: ["slipway-system:agent"],
    authority: () => {
      throw new Error("no certificates here");
    },
    clock,
    log: silentLogger,
    reviewed() {},
  });
  return { clock, authenticator, asked: () => asked };
}

test("an answer is used for a minute, a refusal for five seconds", async () => {
  const { clock, authenticator, asked } = setUp(async (token) => ({ authenticated: token === "good" }));
  for (let second = 0; second < 60; second++) {
    await authenticator.byToken("good");
    await clock.advance(1000);
  }
  expect(asked()).toBe(1);
  await authenticator.byToken("good");
  expect(asked()).toBe(2);
  await expect(authenticator.byToken("bad")).rejects.toBeInstanceOf(Refused);
  await expect(authenticator.byToken("bad")).rejects.toBeInstanceOf(Refused);
  expect(asked()).toBe(3);
  await clock.advance(5000);
  await expect(authenticator.byToken("bad")).rejects.toBeInstanceOf(Refused);
  expect(asked()).toBe(4);
});

test("no answer of the API server refuses nobody, and is not remembered", async () => {
  let down = true;
  const { authenticator } = setUp(async () => {
    if (down) throw new ApiError("Unavailable", "down");
    return {};
  });
  await expect(authenticator.byToken("good")).rejects.toBeInstanceOf(CannotAsk);
  down = false;
  expect(await authenticator.byToken("good")).toEqual({ uid: "u1", node: "n1" });
});

test("at most 16 reviews run at once and 500 wait; the next is told to come again", async () => {
  let running = 0;
  let most = 0;
  const { promise: open, resolve: letGo } = Promise.withResolvers<void>();
  const { authenticator } = setUp(async () => {
    running += 1;
    most = Math.max(most, running);
    await open;
    running -= 1;
    return {};
  });
  const answers = Array.from({ length: 600 }, (_, index) =>
    authenticator.byToken(`t${index}`).then(
      () => "in",
      (error: unknown) => (error instanceof CannotAsk ? error.reason : "?"),
    ),
  );
  letGo();
  const outcomes = await Promise.all(answers);
  expect(outcomes.filter((outcome) => outcome === "in")).toHaveLength(516);
  expect(outcomes.filter((outcome) => outcome === "Busy")).toHaveLength(84);
  expect(most).toBe(16);
});

test("the cache forgets the least recently used", async () => {
  const { authenticator, asked } = setUp(async () => ({}));
  await authenticator.byToken("first");
  for (let i = 0; i < 9_999; i++) await authenticator.byToken(`t${i}`);
  await authenticator.byToken("first");
  expect(asked()).toBe(10_000);
  await authenticator.byToken("one more");
  await authenticator.byToken("first");
  expect(asked()).toBe(10_001);
  await authenticator.byToken("t0");
  expect(asked()).toBe(10_002);
});
