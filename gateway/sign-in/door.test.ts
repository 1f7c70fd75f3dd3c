import { expect, test } from "vitest";
import type { PersonReview } from "../../runtime/access.ts";
import { FakeClock, fakeRandom } from "../fake-clock.ts";
import { Door } from "./door.ts";
import { Seal } from "./seal.ts";
import { Sessions } from "./session.ts";
import { Tokens } from "./tokens.ts";

test("whoever fails behind an ingress keeps out nobody else there, and is reviewed one at a time", async () => {
  const clock = new FakeClock();
  let [running, most] = [0, 0];
  const reviewPerson = async (token: string): Promise<PersonReview> => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    running -= 1;
    return token.startsWith("good")
      ? { authenticated: true, person: { username: token, groups: [] } }
      : { authenticated: false, error: "The token is not valid" };
  };
  const sessions = new Sessions({
    seal: new Seal([Buffer.alloc(32)], "session", fakeRandom()),
    ...{ secure: true, clock },
  });
  const tokens = new Tokens({ access: { reviewPerson }, clock });
  const door = new Door({ sessions, tokens, origin: undefined, clock });
  const enter = async (token: string) => (await door.byToken(token, "10.0.0.1")).is;
  expect(await enter("good-1")).toBe("in");
  for (let n = 0; n < 10; n++) expect(await enter(`guess-${n}`)).toBe("out");
  expect(await enter("guess")).toBe("slow");
  most = 0;
  const guesses = Promise.all(Array.from({ length: 200 }, (_, n) => enter(`more-${n}`)));
  expect(await enter("good-1")).toBe("in");
  expect(new Set(await guesses)).toEqual(new Set(["slow"]));
  expect(await enter("good-2")).toBe("in");
  expect(most).toBe(1);
  expect((await door.byToken("guess", "10.0.0.2")).is).toBe("out");
});
