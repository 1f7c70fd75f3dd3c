/** The console with as many machines in its grid as it promises to draw, on the plane and in the browser of a test. */
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import { nodeUpdate } from "../../api/node-update.ts";
import type { Browser } from "../../hack/browser/chromium.ts";
import { declareGroup, nameOf, tell, WORKERS } from "./fleet.ts";
import { openPage, show, signIn, violations } from "./page.ts";
import { plantWorkers } from "./planted.ts";
import type { Served } from "./served.ts";

const MACHINES = 5000;
const GROUP = "harbor";
const WAIT = { timeout: 20_000, interval: 50 };

/** Of every fifty, as `plantWorkers` makes them. */
const COUNTS = {
  ...{ Failed: 100, Suspect: 100, Rebooting: 100, Draining: 100, Verifying: 100, Staging: 100, Staged: 400 },
  ...{ Behind: 3000, "No word": 0, "Up to date": 1000 },
};
const ZONES = { "eu-west-1a": 1666, "eu-west-1b": 1667, "eu-west-1c": 1667 };

/** `running` has the `WORKERS` besides. */
export function manySuite(running: () => { served: Served; browser: Browser }): void {
  describe(`${MACHINES} machines in the grid`, () => {
    let served: Served;
    let page: Page;
    /** Machines of other tests. */
    let others = 0;

    beforeAll(async () => {
      const { browser } = running();
      ({ served } = running());
      await declareGroup(served.admin, GROUP, { status: { nodes: MACHINES, updated: 1000, limit: 100 } });
      others = (await served.admin.list(nodeUpdate)).items.length;
      await plantWorkers(served.plane, GROUP, WORKERS, MACHINES);
      const opened = await openPage(browser, served.url, { viewport: { width: 1280, height: 900 } });
      page = opened.page;
      await signIn(page, await served.token("viewer"));
      await show(page, `fleet?group=${GROUP}`);
      return opened.close;
    });

    test("all of them are counted by state and by zone, and drawn", async () => {
      await expect.poll(() => legend(page), WAIT).toEqual(COUNTS);
      for (const [zone, machines] of Object.entries(ZONES)) {
        const shown = machines.toLocaleString("en");
        await page.getByRole("button", { name: `${shown} machines in ${zone}, show the command` }).waitFor();
      }
      await expect.poll(() => painted(page), WAIT).toEqual({ strong: MACHINES, faint: 0 });
      await show(page, "fleet");
      const total = async () => Object.values(await legend(page)).reduce((sum, count) => sum + count, 0);
      await expect.poll(total, WAIT).toBe(MACHINES + others);
      await show(page, `fleet?group=${GROUP}`);
      await expect.poll(() => legend(page), WAIT).toEqual(COUNTS);
    });

    test("filters leave strong what they ask for", async () => {
      const failed = page.getByRole("button", { name: /^Failed / });
      await failed.click();
      await expect.poll(() => painted(page), WAIT).toEqual({ strong: 100, faint: MACHINES - 100 });
      await page.getByLabel("Find a machine").fill(nameOf(WORKERS + 14));
      await expect.poll(() => painted(page), WAIT).toEqual({ strong: 1, faint: MACHINES - 1 });
      await failed.click();
      await page.getByLabel("Find a machine").fill("");
      await expect.poll(() => painted(page), WAIT).toEqual({ strong: MACHINES, faint: 0 });
    });

    test("the keyboard walks over a zone, and opens a machine, whose change is there without a reload", async () => {
      await page.evaluate("window.kept = true");
      const cell = page.getByRole("grid", { name: "eu-west-1b" }).getByRole("gridcell");
      const at = async (): Promise<string> => (await cell.getAttribute("aria-label"))?.split(",", 1)[0] ?? "";
      await cell.focus();
      expect(await at()).toBe(nameOf(WORKERS));
      await page.keyboard.press("Control+End");
      // The last of them in this zone: every third machine is.
      expect(await at()).toBe(nameOf(WORKERS + MACHINES - 2));
      await page.keyboard.press("Control+Home");
      for (const key of ["ArrowRight", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key);
      const [index, name] = [WORKERS + 9, nameOf(WORKERS + 9)];
      expect(await at()).toBe(name);
      await page.keyboard.press("Enter");
      const story = page.getByRole("complementary", { name });
      await story.getByText("What happened").waitFor();
      await tell(served.admin, index, {
        ...{ step: "Draining", reason: "Draining", message: "7 Pods are still to leave." },
      });
      await story.getByText("7 Pods are still to leave.").first().waitFor();
      await expect.poll(() => legend(page), WAIT).toEqual({ ...COUNTS, Draining: 101, Behind: 2999 });
      expect(await cell.getAttribute("aria-label")).toBe(`${name}, Draining, 7 Pods are still to leave.`);
      expect(await page.evaluate("window.kept")).toBe(true);
      expect(await violations(page)).toEqual([]);
    });
  });
}

/** What the legend counts, by its words. */
async function legend(page: Page): Promise<Record<string, number>> {
  const told = await page.locator(".legend button").allInnerTexts();
  return Object.fromEntries(
    told.map((text) => {
      const [, label = "", shown = ""] = /([A-Z][a-z]+(?: [a-z]+)*)\s*([\d,]+)$/.exec(text) ?? [];
      return [label, Number(shown.replaceAll(",", ""))];
    }),
  );
}

/** Machines that are painted in all grids, and how: asks the pixel in the middle of each. */
async function painted(page: Page): Promise<{ strong: number; faint: number }> {
  return await page.evaluate(`(() => {
    const seen = { strong: 0, faint: 0 };
    for (const canvas of document.querySelectorAll(".cells canvas")) {
      const { width, height } = canvas;
      if (width === 0 || height === 0) continue;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const columns = Number(canvas.parentElement.ariaColCount);
      const pitch = (canvas.clientWidth + 2) / columns;
      const scale = width / canvas.clientWidth;
      for (let y = pitch / 2; y * scale < height; y += pitch)
        for (let x = pitch / 2; x * scale < width; x += pitch) {
          const alpha = data[(Math.floor(y * scale) * width + Math.floor(x * scale)) * 4 + 3];
          if (alpha > 250) seen.strong += 1;
          else if (alpha > 0) seen.faint += 1;
        }
    }
    return seen;
  })()`);
}
