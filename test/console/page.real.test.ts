/** The console in a browser, over a real gateway, API server and etcd. */
import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { type Browser, startBrowser } from "../../hack/browser/chromium.ts";
import { tool } from "../../hack/tools.ts";
import { declareGroup, declareRollouts, declareWorkers, tell, WORKERS } from "./fleet.ts";
import { manySuite } from "./many-suite.ts";
import { confirm, openPage, overflow, show, signIn, VIEWS, violations } from "./page.ts";
import { type Served, startServed } from "./served.ts";
import { writesSuite } from "./writes-suite.ts";

const WAIT = { timeout: 20_000, interval: 50 };

const sh = promisify(execFile);

let served: Served;
let browser: Browser;

beforeAll(async () => {
  [served, browser] = await Promise.all([startServed(), startBrowser()]);
  await declareRollouts(served.admin, WORKERS);
  await declareWorkers(served.admin, WORKERS);
}, 180_000);

afterAll(async () => {
  await browser?.close();
  await served?.stop();
});

async function signedIn(person: "operator" | "viewer", options: Parameters<typeof openPage>[2] = {}) {
  const opened = await openPage(browser, served.url, options);
  await signIn(opened.page, await served.token(person));
  return opened;
}

describe("signing in", () => {
  test("a token of Kubernetes opens the page, is kept nowhere in it, and signing out closes it", async () => {
    const { page, close, complaints } = await openPage(browser, served.url);
    await page.getByLabel("Kubernetes token").fill("not-a-token");
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("alert").waitFor();
    const token = await served.token("viewer");
    await signIn(page, token);
    await page.getByText("system:serviceaccount:default:viewer").waitFor();
    expect(
      await page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])"),
    ).toBe('[{},{},""]');
    expect(await page.content()).not.toContain(token);
    await page.reload();
    await page.getByRole("heading", { name: "Rollouts" }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Kubernetes token").waitFor();
    await page.reload();
    await page.getByLabel("Kubernetes token").waitFor();
    expect(complaints).toEqual([]);
    await close();
  });

  test("who may only read is offered nothing else", async () => {
    const { page, close } = await signedIn("viewer");
    await page.getByText("may read only").waitFor();
    for (const view of VIEWS) {
      await show(page, view);
      expect(
        await page
          .getByRole("button", { name: /^(Pause|Resume|Retry|Roll back|Promote|Quarantine|Assign)/ })
          .count(),
      ).toBe(0);
    }
    await close();
  });
});

describe("what it shows", () => {
  test("groups that need a person come first, with the reason", async () => {
    const { page, close } = await signedIn("viewer");
    const first = page.locator("section.group").first();
    await expect
      .poll(() => first.innerText(), WAIT)
      .toMatch(/databases[\s\S]*Halted[\s\S]*db-1 \(BootChecksFailed\)/);
    await page.getByRole("link", { name: "databases" }).click();
    await page.getByRole("heading", { level: 1, name: "Group databases" }).waitFor();
    await page.getByRole("cell", { name: /etcd.service did not become active/ }).waitFor();
    await close();
  });

  test("each number shows the command that shows the same", async () => {
    const { page, close } = await signedIn("viewer");
    const card = page.locator("section.group", { has: page.getByRole("heading", { name: "workers" }) });
    await card.waitFor();
    expect(await card.locator(".num").count()).toBeGreaterThan(6);
    const kubectl = dirname(await tool("kubectl"));
    const { kubeconfig, directory } = served.plane;
    // Where kubectl keeps what it knows of the API server.
    const env = { PATH: `${kubectl}:${process.env["PATH"]}`, KUBECONFIG: kubeconfig, HOME: directory };
    for (const view of ["rollouts", "fleet?group=workers", "groups/workers"]) {
      await show(page, view);
      for (const number of await page.locator(".num:not(.budget .num)").all()) {
        const command = (await number.getAttribute("data-command")) ?? "";
        // Which exits with 1 where it counts none.
        const { stdout } = await sh("sh", ["-c", `${command} || true`], { env });
        expect([command, stdout.trim()]).toEqual([command, await number.innerText()]);
      }
    }
    await show(page, "rollouts");
    await card.getByRole("button", { name: "10 updated, show the command" }).click();
    const shown = page.getByRole("dialog", { name: "The same with kubectl" });
    expect(await shown.locator("code").innerText()).toBe(
      "kubectl get updategroup workers -o jsonpath='{.status.updated}'",
    );
    await shown.getByRole("button", { name: "Copy" }).click();
    await shown.getByRole("button", { name: "Copied" }).waitFor();
    await page.keyboard.press("Escape");
    await shown.waitFor({ state: "hidden" });
    await close();
  });

  test("a machine tells its story, and goes on telling it", async () => {
    const { page, close } = await signedIn("viewer");
    await show(page, "fleet");
    await page.getByLabel("Find a machine").fill("worker-0007");
    await show(page, "fleet?machine=uid-worker-0007");
    const story = page.getByRole("complementary", { name: "worker-0007" });
    await story.getByText("Other nodes stand before it in the queue.").first().waitFor();
    await story.getByText("priority 1, tries 0, marked good").waitFor();
    await tell(served.admin, 6, {
      step: "Draining",
      reason: "Draining",
      message: "2 Pods are still to leave.",
    });
    await story.getByText("2 Pods are still to leave.").first().waitFor();
    await story.getByText("Its reboot slot").waitFor();
    await close();
  });

  test("changes arrive without a reload, and a gateway that is away makes the page say since when it is stale", async () => {
    const { page, close } = await signedIn("viewer");
    await page.evaluate("window.kept = true");
    const infra = page.locator("section.group", { has: page.getByRole("heading", { name: "infra" }) });
    await infra.getByText("Up to date").waitFor();
    const status = { nodes: 3, updated: 2, inFlight: 1, failed: 0, unavailable: 1, limit: 1 };
    await declareGroup(served.admin, "infra", { status });
    await infra.getByRole("button", { name: "2 updated, show the command" }).waitFor();
    await served.restart(async () => {
      await page.getByText(/^Stale since \d\d:\d\d:\d\d/).waitFor();
      await declareGroup(served.admin, "infra", {
        status: { ...status, updated: 3, inFlight: 0, unavailable: 0 },
      });
    });
    await page.getByRole("banner").getByText("Live").waitFor();
    await page.getByText("What is shown is live again.").waitFor();
    await infra.getByRole("button", { name: "3 updated, show the command" }).waitFor();
    expect(await page.evaluate("window.kept")).toBe(true);
    await close();
  });
});

describe("what it does", () => {
  const group = async (name: string) => await served.admin.get<UpdateGroup>(updateGroup, { name });

  test("pause and resume say what will happen, and happen", async () => {
    const { page, close } = await signedIn("operator");
    await page.getByRole("button", { name: "Pause … workers" }).click();
    const dialog = page.getByRole("dialog", { name: "Pause workers" });
    await dialog
      .getByText("Nothing new begins in workers: 30 machines that do not run the target yet will wait.")
      .waitFor();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
    expect((await group("workers")).spec.paused).not.toBe(true);
    await page.getByRole("button", { name: "Pause … workers" }).click();
    await confirm(page, dialog, "Pause");
    await expect.poll(async () => (await group("workers")).spec.paused, WAIT).toBe(true);
    await page.getByRole("button", { name: "Resume … workers" }).click();
    await confirm(page, page.getByRole("dialog", { name: "Resume workers" }), "Resume");
    await expect.poll(async () => (await group("workers")).spec.paused, WAIT).toBe(false);
    await close();
  });

  test("promote offers what may be promoted, and says which groups move", async () => {
    const { page, close } = await signedIn("operator");
    await show(page, "releases");
    await page.getByRole("button", { name: "Promote … channel stable" }).click();
    const dialog = page.getByRole("dialog", { name: "Promote a release to stable" });
    const options = await dialog.getByLabel("Release").locator("option").allInnerTexts();
    expect(options.toSorted()).toEqual(["harbor-1.0.0", "harbor-1.2.0"]);
    await dialog.getByLabel("Release").selectOption("harbor-1.2.0");
    await dialog.getByText(/^databases, edge, infra, workers move to it: 58 machines/).waitFor();
    await dialog.getByText("edge is paused, and will not begin.").waitFor();
    await confirm(page, dialog, "Promote");
    const stored = await served.admin.get<Channel>(channel, { name: "stable" });
    expect(stored.spec.release).toBe("harbor-1.2.0");
    await page
      .getByRole("row", { name: /stable/ })
      .getByText("harbor-1.2.0")
      .first()
      .waitFor();
    await close();
  });

  test("a quarantine needs a reason, and a person may lift it", async () => {
    const { page, close } = await signedIn("operator");
    await show(page, "releases");
    await page.getByRole("button", { name: "Quarantine … harbor-1.0.0" }).click();
    const dialog = page.getByRole("dialog", { name: "Quarantine harbor-1.0.0" });
    await dialog.getByRole("button", { name: "Quarantine" }).click();
    expect(
      await dialog
        .getByLabel("Why")
        .evaluate<boolean, HTMLTextAreaElementLike>((field) => field.validity.valueMissing),
    ).toBe(true);
    await dialog.getByLabel("Why").fill("It loses packets.");
    await confirm(page, dialog, "Quarantine");
    const { metadata } = await served.admin.get(release, { name: "harbor-1.0.0" });
    expect(JSON.stringify(metadata.annotations)).toContain("It loses packets.");
    await close();
  });

  test("a halted group goes on after a person said why", async () => {
    const { page, close } = await signedIn("operator");
    await page.getByRole("button", { name: "Retry … databases" }).click();
    const dialog = page.getByRole("dialog", { name: "Retry databases after its halt" });
    await dialog.getByText("db-1 will not try it again.").waitFor();
    await dialog.getByRole("textbox").fill("The disk was full.");
    await confirm(page, dialog, "Retry");
    const { metadata } = await group("databases");
    expect(metadata.annotations?.["slipway.dev/resume"]).toContain("The disk was full.");
    await close();
  });
});

describe("for everybody", () => {
  test("the keyboard alone reaches a machine's story, selects machines, and pauses a group", async () => {
    const { page, close } = await openPage(browser, served.url);
    const press = async (...keys: string[]) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const focused = async (): Promise<string> =>
      await page.evaluate(
        "(document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '').trim()",
      );
    const tabTo = async (name: RegExp): Promise<void> => {
      for (let step = 0; step < 80; step++) {
        await press("Tab");
        if (name.test(await focused())) return;
      }
      throw new Error(`Tab never comes to ${name}; it is at ${await focused()}`);
    };
    await page.getByLabel("Kubernetes token").waitFor();
    await tabTo(/^$/);
    await page.keyboard.insertText(await served.token("operator"));
    await tabTo(/^Sign in$/);
    await press("Enter");
    await page.getByRole("heading", { level: 1, name: "Rollouts" }).waitFor();
    await tabTo(/^Fleet$/);
    await press("Enter");
    await expect.poll(focused, WAIT).toBe("Fleet");
    await page.getByRole("grid").first().waitFor();
    await tabTo(/^worker-0001, /);
    await press("ArrowRight", "ArrowRight");
    expect(await focused()).toMatch(/^worker-0007, /);
    await press("Shift+ArrowLeft");
    await page.getByText("2 machines selected").waitFor();
    await press("Home", "Enter");
    await page.getByRole("complementary", { name: "worker-0001" }).getByText("What happened").waitFor();
    await expect.poll(focused, WAIT).toBe("worker-0001");
    await show(page, "rollouts");
    await tabTo(/^Pause … workers$/);
    await press("Enter");
    await page.getByRole("dialog", { name: "Pause workers" }).waitFor();
    await press("Escape");
    await expect.poll(focused, WAIT).toBe("Pause … workers");
    await close();
  });

  test.each(["light", "dark"] as const)("axe finds nothing on any view, %s", async (colorScheme) => {
    const { page, close, complaints } = await openPage(browser, served.url, {
      colorScheme,
      reducedMotion: "reduce",
    });
    await page.getByLabel("Kubernetes token").waitFor();
    expect(await violations(page)).toEqual([]);
    await signIn(page, await served.token("operator"));
    for (const view of [...VIEWS, "fleet?machine=uid-worker-0001"]) {
      await show(page, view);
      expect([view, await violations(page)]).toEqual([view, []]);
    }
    await show(page, "rollouts");
    await page.getByRole("button", { name: "Pause … workers" }).click();
    expect(await violations(page)).toEqual([]);
    expect(complaints).toEqual([]);
    await close();
  });

  // 1280 pixels at 400 % are 320.
  test("at the width of a phone, and at 400 %, nothing scrolls sideways", async () => {
    const { page, close } = await openPage(browser, served.url, { viewport: { width: 320, height: 640 } });
    await page.getByLabel("Kubernetes token").waitFor();
    expect(await overflow(page)).toBe(0);
    await signIn(page, await served.token("operator"));
    for (const view of [...VIEWS, "fleet?machine=uid-worker-0001"]) {
      await show(page, view);
      expect([view, await overflow(page)]).toEqual([view, 0]);
    }
    await show(page, "rollouts");
    await page.getByRole("button", { name: "Pause … workers" }).click();
    const dialog = page.getByRole("dialog", { name: "Pause workers" });
    expect((await dialog.boundingBox())?.width).toBeLessThanOrEqual(320);
    await close();
  });
});

writesSuite(() => ({ served, browser }));
manySuite(() => ({ served, browser }));

/** The part of a field of the page that is asked about. */
interface HTMLTextAreaElementLike {
  validity: { valueMissing: boolean };
}
