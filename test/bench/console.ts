/**
 * `npm run bench -- console`: the page with 5,000 machines in its grid, over a real gateway, API server and etcd, while
 * all of them change as fast as the API server takes it: how long frames are, and what goes over the wire.
 */
import type { CDPSession, Page } from "playwright-core";
import { startBrowser } from "../../hack/browser/chromium.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { declareRollouts, declareWorkers, sideBySide, tell, toldOf } from "../console/fleet.ts";
import { openPage, show, signIn } from "../console/page.ts";
import { startServed } from "../console/served.ts";

const MACHINES = 5000;
/** A frame longer than this is one that a person notices. */
const GOAL = 100;

export async function run({ onProgress }: { onProgress: (line: string) => void }): Promise<object> {
  const [served, browser] = await Promise.all([startServed(), startBrowser()]);
  try {
    onProgress(`declaring ${MACHINES} machines`);
    await declareRollouts(served.admin, MACHINES);
    await declareWorkers(served.admin, MACHINES);
    const { page } = await openPage(browser, served.url, { viewport: { width: 1280, height: 900 } });
    const bytes = await countBytes(page);
    await signIn(page, await served.token("viewer"));
    const before = bytes.received();
    await show(page, "fleet");
    await page
      .getByText("5,000", { exact: true })
      .or(page.getByText("1,667", { exact: true }))
      .first()
      .waitFor();
    await settled(page);
    const snapshot = bytes.received() - before;
    onProgress("all machines change");
    const frames = await page.evaluateHandle<FramesHandle>(MEASURE);
    const start = performance.now();
    const from = bytes.received();
    await sideBySide(MACHINES, async (index) => {
      await tell(served.admin, index, toldOf((index % 9) + (index % 2 === 0 ? 0 : 100)));
    });
    const seconds = (performance.now() - start) / 1000;
    await settled(page);
    const received = bytes.received() - from;
    const { gaps, work } = await frames.evaluate((handle) => handle.end());
    const sorted = gaps.toSorted((a, b) => a - b);
    const at = (share: number): number =>
      round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
    return {
      machines: MACHINES,
      seconds: round(seconds),
      changesPerSecond: round(MACHINES / seconds),
      frames: sorted.length,
      frameMs: { p50: at(0.5), p99: at(0.99), longest: at(1) },
      framesOverGoal: sorted.filter((gap) => gap > GOAL).length,
      longestWorkMs: round(Math.max(0, ...work)),
      snapshotBytes: snapshot,
      changeBytes: received,
      bytesPerChange: Math.round(received / MACHINES),
    };
  } finally {
    await browser.close();
    await served.stop();
  }
}

const round = (value: number): number => Math.round(value * 10) / 10;

interface Frames {
  /** Between two frames, ms. */
  gaps: number[];
  /** Frames that took the page's thread for more than 50 ms, ms (Long Animation Frames API). */
  work: number[];
}
interface FramesHandle {
  end(): Frames;
}

/** Runs in the page. */
const MEASURE = `(() => {
  const gaps = [], work = [];
  const observer = new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) work.push(duration); });
  observer.observe({ type: "long-animation-frame" });
  let last, on = true;
  const frame = (now) => { if (last !== undefined) gaps.push(now - last); last = now; if (on) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  return { end: () => { on = false; observer.disconnect(); return { gaps, work }; } };
})()`;

/** Waits until what the legend counts stays as it is for two seconds. */
async function settled(page: Page): Promise<void> {
  let [text, since] = ["", 0];
  await waitUntil(
    async () => {
      const now = await page.locator(".fleet .legend").innerText();
      if (now !== text) [text, since] = [now, performance.now()];
      return performance.now() - since > 2000;
    },
    { what: "the grid comes to rest", deadline: 60_000, interval: 250 },
  );
}

/** What the browser received, as it came over the wire. */
async function countBytes(page: Page): Promise<{ received: () => number }> {
  const debug: CDPSession = await page.context().newCDPSession(page);
  let total = 0;
  debug.on("Network.dataReceived", ({ dataLength, encodedDataLength }) => {
    total += encodedDataLength > 0 ? encodedDataLength : dataLength;
  });
  await debug.send("Network.enable");
  return { received: () => total };
}
