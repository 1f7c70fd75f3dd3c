/** Signing in at a real identity provider (npm `oidc-provider`), by its own form, in a browser. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Provider } from "oidc-provider";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Browser, startBrowser } from "../../hack/browser/chromium.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { openPage, violations } from "./page.ts";
import { type Served, startServed } from "./served.ts";

let served: Served;
let browser: Browser;
let provider: Server;

beforeAll(async () => {
  const [port = 0] = await freePorts(1);
  provider = createServer();
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  const origin = `http://127.0.0.1:${port}`;
  const client = { client_id: "console", client_secret: "not so secret" };
  const oidc = new Provider(issuer, {
    clients: [{ ...client, redirect_uris: [`${origin}/auth/callback`] }],
    claims: { openid: ["sub"], groups: ["groups"] },
    ...{ scopes: ["openid", "groups"], conformIdTokenClaims: false, cookies: { keys: ["test"] } },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: ["fleet"] }) }),
  });
  const answer = oidc.callback();
  provider.on("request", (request, response) => void answer(request, response));
  const settings = {
    origin,
    oidc: {
      ...{ issuer, clientId: client.client_id, clientSecret: client.client_secret },
      ...{ usernameClaim: "sub", usernamePrefix: "oidc:", groupsClaim: "groups", groupsPrefix: "" },
      ...{ scopes: ["groups"], fetcher: { fetch } },
    },
  };
  [served, browser] = await Promise.all([startServed({ port, settings }), startBrowser()]);
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await served?.stop();
  await new Promise((resolve) => provider?.close(resolve));
});

test("the button leads to the provider, and back to the view that was asked for", async () => {
  const { page, close } = await openPage(browser, `${served.url}#/windows`);
  const button = page.getByRole("link", { name: /^Sign in with/ });
  await button.waitFor();
  expect(await violations(page)).toEqual([]);
  await button.click();
  await page.locator("input[name=login]").fill("ada");
  await page.locator("input[name=password]").fill("anything");
  await page.locator("button[type=submit]").click();
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("heading", { level: 1, name: "Windows" }).waitFor();
  await page.getByText("oidc:ada").waitFor();
  await page.getByText("may read only").waitFor();
  await close();
});
