/** What tests do at the page: sign in, look at views, and ask axe for what keeps people out. */
import axe from "axe-core";
import type { Locator, Page } from "playwright-core";
import type { Browser, WindowOptions } from "../../hack/browser/chromium.ts";

export const VIEWS = ["rollouts", "fleet", "releases", "windows", "slots", "activity", "groups/workers"];

/** Opens a window; what its page complains of is thrown by `complaints`. */
export async function openPage(browser: Browser, url: string, options: WindowOptions = {}) {
  const window = await browser.open(options);
  const page = await window.newPage();
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(url);
  return { page, complaints, close: () => window.close() };
}

export async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel("Kubernetes token").fill(token);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "Rollouts" }).waitFor();
}

/** Goes to a view by its address, and waits until it has its data. */
export async function show(page: Page, view: string): Promise<void> {
  await page.evaluate(`location.hash = ${JSON.stringify(`#/${view}`)}`);
  await page.locator("h1").waitFor();
  await page
    .getByText(/^Reading /)
    .first()
    .waitFor({ state: "detached" });
}

/** Rules that the page breaks, with the element and how to mend it. */
export async function violations(page: Page): Promise<string[]> {
  // By the debugger: the page's policy forbids a script of ours in it.
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const run = `axe.run({ runOnly: { type: "tag", values: ${JSON.stringify(tags)} } })`;
  const { violations } = await page.evaluate<{ violations: Violation[] }>(run);
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html.slice(0, 200)} (${failureSummary})`),
  );
}

interface Violation {
  id: string;
  help: string;
  nodes: { html: string; failureSummary: string }[];
}

/** Pixels by which the page is wider than its window. */
export async function overflow(page: Page): Promise<number> {
  return await page.evaluate<number>(
    "document.documentElement.scrollWidth - document.documentElement.clientWidth",
  );
}

/** Presses the button that does it, and waits for what became of it. */
export async function confirm(page: Page, dialog: Locator, name: string): Promise<void> {
  await dialog.getByRole("button", { name, exact: true }).click();
  await dialog.getByText("The same with kubectl:").waitFor();
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
}
