/** Signing in at a real identity provider (npm `oidc-provider`), as a browser does it: by redirects and cookies. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Provider } from "oidc-provider";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePorts } from "../../hack/plane/ports.ts";
import { Desk, VIEWER, WAIT } from "../../test/console/desk.ts";

let desk: Desk;
let provider: Server;
let issuer: string;
/** Who signs in at the provider, whatever is asked. */
let account = "alice";

beforeAll(async () => {
  provider = createServer();
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  const [port = 0] = await freePorts(1);
  serveProvider(`http://127.0.0.1:${port}/auth/callback`);
  desk = await Desk.open({
    port,
    settings: {
      origin: `http://127.0.0.1:${port}`,
      oidc: {
        ...{ issuer, clientId: "console", clientSecret: "not so secret" },
        ...{ usernameClaim: "email", usernamePrefix: "oidc:", groupsClaim: "groups", groupsPrefix: "oidc:" },
        scopes: ["email", "groups"],
        fetcher: { fetch },
      },
    },
  });
  const rbac = "rbac.authorization.k8s.io";
  await desk.bind("oidc", { apiGroup: rbac, kind: "Group", name: "oidc:fleet" }, VIEWER);
});

afterAll(async () => {
  await desk.close();
  await new Promise((resolve) => provider.close(resolve));
});

function serveProvider(redirectUri: string): void {
  const groups: Record<string, string[]> = { alice: ["fleet"], bob: [], mallory: ["fleet"] };
  const oidc = new Provider(issuer, {
    clients: [{ client_id: "console", client_secret: "not so secret", redirect_uris: [redirectUri] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
    scopes: ["openid", "email", "groups"],
    conformIdTokenClaims: false,
    cookies: { keys: ["test"] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({
        sub,
        email: `${sub}@example.org`,
        email_verified: sub !== "mallory",
        groups: groups[sub] ?? [],
      }),
    }),
  });
  const answer = oidc.callback();
  provider.on("request", (request, response) => {
    if (request.url?.startsWith("/interaction/") !== true) return void answer(request, response);
    void (async () => {
      const { prompt, params, session } = await oidc.interactionDetails(request, response);
      if (prompt.name === "login") {
        await oidc.interactionFinished(request, response, { login: { accountId: account } });
        return;
      }
      const grant = new oidc.Grant({
        accountId: session?.accountId ?? "",
        clientId: String(params["client_id"]),
      });
      grant.addOIDCScope("openid email groups");
      await oidc.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
    })();
  });
}

/** Cookies by host, as a browser keeps them. */
class Browser {
  readonly #jar = new Map<string, Map<string, string>>();

  /** One request; redirects are the test's to follow. */
  async get(url: string): Promise<{ status: number; location: string; text: string; cookies: string[] }> {
    const { host } = new URL(url);
    const own = this.#jar.get(host) ?? new Map<string, string>();
    this.#jar.set(host, own);
    const cookie = [...own].map((pair) => pair.join("=")).join("; ");
    const response = await fetch(url, { redirect: "manual", headers: { cookie } });
    const cookies = response.headers.getSetCookie();
    for (const line of cookies) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === "") own.delete(name);
      else own.set(name, value);
    }
    const location = response.headers.get("location") ?? "";
    return {
      ...{ status: response.status, text: await response.text(), cookies },
      location: location === "" ? "" : new URL(location, url).toString(),
    };
  }

  cookie(name: string): string | undefined {
    for (const own of this.#jar.values()) if (own.has(name)) return own.get(name);
    return undefined;
  }

  /** From our door through the provider to the address at which it sends the browser back. */
  async toCallback(back: string): Promise<string> {
    let { location } = await this.get(`${desk.origin}/auth/sign-in?back=${encodeURIComponent(back)}`);
    while (!location.startsWith(`${desk.origin}/auth/callback`)) {
      expect(location.startsWith(issuer)).toBe(true);
      ({ location } = await this.get(location));
    }
    return location;
  }
}

test("a person signs in at the provider, and is who RBAC knows", async () => {
  account = "alice";
  const browser = new Browser();
  const callback = await browser.toCallback("/groups/web");
  expect(new URL(callback).searchParams.get("code")).not.toBeNull();
  const done = await browser.get(callback);
  expect(done).toMatchObject({ status: 303, location: `${desk.origin}/groups/web` });
  expect(done.cookies[0]).toMatch(/^slipway=[\w-]+; Path=\/; Max-Age=28800; HttpOnly; SameSite=Strict$/);
  const cookie = `slipway=${browser.cookie("slipway") ?? ""}`;
  expect((await desk.ask("/api/v1/me", { cookie })).json).toMatchObject({
    user: "oidc:alice@example.org",
    groups: ["oidc:fleet", "system:authenticated"],
  });
  await expect.poll(async () => (await desk.ask("/api/v1/groups", { cookie })).status, WAIT).toBe(200);
  const ways = await desk.ask("/api/v1/sign-in");
  expect(ways.json).toEqual({ token: true, oidc: { name: issuer, url: "/auth/sign-in" } });
  // The code was spent, and the flow with it.
  expect((await browser.get(callback)).status).toBe(400);
});

test("who has no rights signs in, and reads nothing", async () => {
  account = "bob";
  const browser = new Browser();
  await browser.get(await browser.toCallback("/"));
  const cookie = `slipway=${browser.cookie("slipway") ?? ""}`;
  expect((await desk.ask("/api/v1/me", { cookie })).status).toBe(200);
  expect((await desk.ask("/api/v1/groups", { cookie })).status).toBe(403);
});

test("an address that nobody verified is nobody's", async () => {
  account = "mallory";
  const browser = new Browser();
  const done = await browser.get(await browser.toCallback("/"));
  expect(done).toMatchObject({
    status: 403,
    text: "The identity provider has not verified mallory@example.org.\n",
  });
  expect(browser.cookie("slipway")).toBeUndefined();
});

test("an answer of another sign-in, or without one, lets nobody in", async () => {
  account = "alice";
  const [mine, theirs] = [new Browser(), new Browser()];
  const [answer, other] = [await mine.toCallback("/"), await theirs.toCallback("/")];
  expect((await mine.get(other)).status).toBe(400);
  expect((await new Browser().get(answer)).status).toBe(400);
  const url = new URL(answer);
  url.searchParams.set("code", "forged");
  expect((await mine.get(url.toString())).status).toBeGreaterThanOrEqual(400);
  expect(mine.cookie("slipway")).toBeUndefined();
});

test("nobody is sent to another site", async () => {
  account = "alice";
  for (const back of ["https://evil.example.org/", "//evil.example.org", "/\\evil.example.org", "/a\r\nb"]) {
    const browser = new Browser();
    const done = await browser.get(await browser.toCallback(back));
    expect(done.location).toBe(`${desk.origin}/`);
  }
});
