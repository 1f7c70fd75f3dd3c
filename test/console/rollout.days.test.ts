/** Rollouts of real machines, made and watched in a browser: to the end, through a pause, into a halt and out of it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Browser, startBrowser } from "../../hack/browser/chromium.ts";
import { channel, updateGroup } from "../../hack/demo/manifests.ts";
import { days, machines } from "../bad-days/day.ts";
import { confirm, openPage, show, signIn } from "./page.ts";
import { type ConsoleServer, serveConsole } from "./served.ts";

const start = days({ machines: machines(4), limits: { total: 2, perZone: 1 } });
/** Of a rollout of four machines, on a busy computer, ms. */
const WITHIN = 180_000;

let browser: Browser;
let server: ConsoleServer | undefined;

beforeAll(async () => {
  browser = await startBrowser();
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

test("an operator promotes, watches, pauses, resumes, and is told why it halted, on one page", async () => {
  const day = start();
  const { cluster } = day;
  server = await serveConsole(cluster.plane, cluster.etcd.endpoints);
  await cluster.apply((await cluster.foundry.release("1.0.0")).manifest);
  const group = updateGroup(cluster.servicePort);
  const quick = { windows: "Always", maxUnavailable: 2, stages: [{ name: "canary", count: 1 }] };
  // The file does not name what the page changes later: the group's pause is its own.
  await cluster.apply({ ...group, spec: { ...group.spec, ...quick } });
  // The channel's release is what is promoted: no file may declare it.
  await cluster.plane.kubectl(["create", "-f", "-"], JSON.stringify(channel("harbor-1.0.0")));
  await day.waitUntilDone("1.0.0");
  const good = await cluster.foundry.release("1.1.0");
  const bad = await cluster.foundry.release("1.2.0", "service");
  await cluster.apply(good.manifest, bad.manifest);

  const { page, close, complaints } = await openPage(browser, server.url);
  page.setDefaultTimeout(WITHIN);
  await signIn(page, await server.token("operator"));
  await page.evaluate("window.kept = true");
  const card = page.locator("section.group", { has: page.getByRole("heading", { name: "harbor" }) });
  await card.getByText("Up to date").waitFor();

  // Paused, it says so, and nothing begins; resumed, it goes to the end.
  await page.getByRole("button", { name: "Pause … harbor" }).click();
  await confirm(page, page.getByRole("dialog", { name: "Pause harbor" }), "Pause");
  await card.getByText("Paused").first().waitFor();
  await promote(good.manifest.metadata.name);
  await card.getByText("to 1.1.0 by channel stable").waitFor();
  await card.getByRole("button", { name: "0 updated, show the command" }).waitFor();
  expect(day.booted("1.1.0")).toEqual([]);
  await page.getByRole("button", { name: "Resume … harbor" }).click();
  await confirm(page, page.getByRole("dialog", { name: "Resume harbor" }), "Resume");
  await card.getByText("Updating").waitFor();
  await card.getByRole("button", { name: "4 updated, show the command" }).waitFor();
  await card.getByText("Up to date").waitFor();
  expect(day.booted("1.1.0")).toHaveLength(4);

  // Each machine tells how it went.
  await show(page, "fleet");
  await page.getByRole("button", { name: /^Up to date 4/ }).waitFor();
  await page.getByRole("gridcell").first().click();
  const story = page.getByRole("complementary", { name: /^node-0/ });
  await story.getByText("Verifying").first().waitFor();

  // A bad release stops by itself, and the page says why, and on which machine.
  await promote(bad.manifest.metadata.name);
  await show(page, "rollouts");
  await card.getByText("Halted").waitFor();
  const [failed = ""] = day.booted("1.2.0");
  expect(await card.innerText()).toMatch(/FailureThresholdReached/);
  await page.getByRole("link", { name: "harbor" }).click();
  await page.getByRole("row", { name: new RegExp(`^${failed}`) }).waitFor();
  await show(page, "releases");
  await page
    .getByRole("row", { name: /1\.2\.0/ })
    .getByText("Quarantined")
    .waitFor();

  // The way back to work: the good one again.
  await promote(good.manifest.metadata.name);
  await show(page, "rollouts");
  await card.getByText("Up to date").waitFor();
  expect(await page.evaluate("window.kept")).toBe(true);
  expect(complaints).toEqual([]);
  await close();
  await server.stop();
  server = undefined;
  await day.rest();

  async function promote(release: string): Promise<void> {
    const before = await page.locator("h1").innerText();
    await show(page, "releases");
    await page.getByRole("button", { name: "Promote … channel stable" }).click();
    const dialog = page.getByRole("dialog", { name: "Promote a release to stable" });
    await dialog.getByLabel("Release").selectOption(release);
    await confirm(page, dialog, "Promote");
    if (before === "Rollouts") await show(page, "rollouts");
  }
}, 600_000);
