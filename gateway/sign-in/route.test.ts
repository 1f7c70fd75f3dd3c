import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { FakeClock } from "../fake-clock.ts";
import { Door } from "./door.ts";
import { signInRoute } from "./route.ts";
import { Seal } from "./seal.ts";
import { Sessions } from "./session.ts";

test("a host beside ours can't bring a browser a sign-in of its own", async () => {
  const clock = new FakeClock();
  const origin = "https://slipway.example.org";
  const sessions = new Sessions({
    seal: new Seal([Buffer.alloc(32)], "session", systemRandom),
    ...{ secure: true, clock },
  });
  const door = new Door({ sessions, tokens: {} as never, origin, clock });
  const kept: (string | undefined)[] = [];
  const oidc = {
    begin: async () => ({ url: "https://id.example.org/", flow: "FLOW" }),
    end: async (_: string, __: URLSearchParams, flow: string | undefined) => {
      kept.push(flow);
      return { person: { username: "alice", groups: [] }, back: "/" };
    },
  };
  const route = signInRoute({ oidc: oidc as never, sessions, door, origin, log: silentLogger });
  const get = (path: string, cookie = "") =>
    route.answer({
      ...{ method: "GET", path, query: new URLSearchParams(), search: "", peer: "10.0.0.1" },
      ...{ header: () => cookie, body: Buffer.alloc(0), arriving: () => Readable.from([]) },
      gone: new AbortController().signal,
    });
  const begun = await get("/auth/sign-in");
  expect(begun.headers?.["set-cookie"]).toBe(
    "__Host-slipway-sign-in=FLOW; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure",
  );
  await get("/auth/callback", "slipway-sign-in=THEIRS");
  await get("/auth/callback", "slipway-sign-in=THEIRS; __Host-slipway-sign-in=FLOW");
  expect(kept).toEqual([undefined, "FLOW"]);
});
