/** `npm run screenshots`: the pictures of docs/console.md, of the page over a real gateway. */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { startBrowser } from "../../hack/browser/chromium.ts";
import { declareRollouts, declareWorkers } from "./fleet.ts";
import { openPage, show, signIn } from "./page.ts";
import { startServed } from "./served.ts";

const WORKERS = 600;
const FOLDER = join(import.meta.dirname, "../../docs/images");
/** Of one picture, bytes: pages load them all. */
const LARGEST = 150_000;

interface Shot {
  name: string;
  view: string;
  colorScheme?: "light" | "dark";
  viewport?: { width: number; height: number };
  /** A button that is pressed first. */
  press?: string;
}

const SHOTS: readonly Shot[] = [
  { name: "rollouts", view: "rollouts" },
  { name: "fleet", view: "fleet?machine=uid-worker-0002", colorScheme: "dark" },
  { name: "group", view: "groups/workers" },
  { name: "releases", view: "releases" },
  { name: "windows", view: "windows" },
  { name: "slots", view: "slots", colorScheme: "dark" },
  { name: "retry", view: "rollouts", press: "Retry … databases" },
  { name: "phone", view: "rollouts", viewport: { width: 320, height: 720 } },
];

const [served, browser] = await Promise.all([startServed(), startBrowser()]);
try {
  await declareRollouts(served.admin, WORKERS);
  await declareWorkers(served.admin, WORKERS);
  const token = await served.token("operator");
  mkdirSync(FOLDER, { recursive: true });
  for (const { name, view, press, ...options } of SHOTS) {
    const { page, close } = await openPage(browser, served.url, {
      ...{ reducedMotion: "reduce", viewport: { width: 1200, height: 760 } },
      ...options,
    });
    await signIn(page, token);
    await page.getByRole("banner").getByText("Live").waitFor();
    await page.getByLabel("The fleet in numbers").getByText(`${WORKERS}`).waitFor();
    await show(page, view);
    if (press !== undefined) await page.getByRole("button", { name: press }).click();
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    const path = join(FOLDER, `${name}.png`);
    await page.screenshot({ path, animations: "disabled", caret: "hide" });
    const { size } = statSync(path);
    process.stdout.write(`${path}: ${size} bytes\n`);
    if (size > LARGEST) process.exitCode = 1;
    await close();
  }
} finally {
  await browser.close();
  await served.stop();
}
