/** What the console writes, by its buttons and for who may, on the plane and in the browser of a test. */
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import { GROUP_LABEL } from "../../api/labels.ts";
import { API_VERSION, type KubeObject, timestamp } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import type { Browser } from "../../hack/browser/chromium.ts";
import { NODES } from "../../runtime/core.ts";
import { declare, declareGroup, statusOf } from "./fleet.ts";
import { confirm, openPage, show, signIn } from "./page.ts";
import type { Served } from "./served.ts";

const WAIT = { timeout: 20_000, interval: 50 };
/** As `declare` writes. */
const AS = { fieldManager: "slipway-test" };
const QUARANTINE = "slipway.dev/quarantine";
/** Has a Node and what its agent told; of the other one only that is there. */
const MACHINES = ["keel-1", "keel-2"];

/** A button of each action, as a person reads it. */
const BUTTONS = /^(Pause|Resume|Retry|Roll back|Promote|Quarantine|Lift|Assign|Free)/;

/** After `declareRollouts`: a group of two machines with a channel of its own is made beside. */
export function writesSuite(running: () => { served: Served; browser: Browser }): void {
  describe("what its buttons write", () => {
    let served: Served;

    beforeAll(async () => {
      ({ served } = running());
      const { admin } = served;
      await declare(admin, channel, "nightly", {
        spec: { release: "harbor-1.1.0" },
        status: { current: "harbor-1.1.0", previous: "harbor-1.0.0" },
      });
      await declareGroup(admin, "keel", {
        spec: { channel: "nightly" },
        status: { nodes: 2, updated: 2, inFlight: 1, limit: 1 },
      });
      for (const [index, name] of MACHINES.entries())
        await declare(admin, nodeUpdate, name, {
          spec: { nodeName: name, nodeUID: `uid-${name}`, group: "keel", release: "harbor-1.1.0" },
          status: statusOf(index, { step: "Verifying", reason: "", message: "", version: "1.1.0" }),
          labels: { [GROUP_LABEL]: "keel" },
        });
      const metadata = { name: "keel-1", labels: { tier: "keel" } };
      await admin.apply(NODES, { apiVersion: "v1", kind: "Node", metadata }, AS);
      await quarantine("It loses packets.");
    });

    /** As a person does it, and the manager tells it. */
    const quarantine = async (message: string): Promise<void> => {
      const name = "harbor-1.2.0";
      const patch = {
        type: "merge",
        body: { metadata: { annotations: { [QUARANTINE]: message } } },
      } as const;
      await served.admin.patch(release, { name }, patch);
      const told = conditionOf("Quarantined", "QuarantinedByPerson", message);
      const status = { running: 0, failed: 0, conditions: [told] };
      const object = { apiVersion: API_VERSION, kind: release.kind, metadata: { name }, status };
      await served.admin.apply(release, object, { ...AS, subresource: "status" });
    };
    const group = async (name: string) => await served.admin.get<UpdateGroup>(updateGroup, { name });
    const machine = async (name: string) => await served.admin.get<NodeUpdate>(nodeUpdate, { name });
    const opened = async (token: string, view: string) => {
      const window = await openPage(running().browser, served.url);
      await signIn(window.page, token);
      await show(window.page, view);
      return window;
    };
    const operated = async (view: string) => await opened(await served.token("operator"), view);

    test("a quarantine is lifted with a reason", async () => {
      const { page, close } = await operated("releases");
      await page.getByRole("button", { name: "Lift quarantine … of harbor-1.2.0" }).click();
      const dialog = page.getByRole("dialog", { name: "Lift the quarantine of harbor-1.2.0" });
      await dialog.getByLabel("Why it may go on").fill("It was the switch.");
      await confirm(page, dialog, "Lift");
      const { metadata } = await served.admin.get(release, { name: "harbor-1.2.0" });
      expect(metadata.annotations?.[QUARANTINE]).toBeUndefined();
      await show(page, "activity");
      await page.getByText("It was the switch.").first().waitFor();
      await close();
    });

    test("a group rolls back: each machine is permitted to, then its channel points there", async () => {
      const { page, close } = await operated("groups/keel");
      await page.getByRole("button", { name: "Roll back … keel" }).click();
      const dialog = page.getByRole("dialog", { name: "Roll keel back to harbor-1.0.0" });
      await dialog.getByText("Channel nightly points at harbor-1.0.0 from then on.").waitFor();
      await confirm(page, dialog, "Roll back");
      const stored = await served.admin.get<Channel>(channel, { name: "nightly" });
      expect(stored.spec.release).toBe("harbor-1.0.0");
      for (const name of MACHINES)
        expect((await machine(name)).metadata.annotations).toMatchObject({
          "slipway.dev/allow-downgrade": "harbor-1.0.0",
        });
      await close();
    });

    test("machines are assigned to a group, and of one that can't be it is said why", async () => {
      const { page, close } = await operated("fleet?group=keel");
      await page.getByRole("gridcell").first().focus();
      await page.keyboard.press("Space");
      await page.getByRole("grid").nth(1).getByRole("gridcell").focus();
      await page.keyboard.press("Space");
      await page.getByRole("button", { name: "Assign to a group … 2 machines" }).click();
      const dialog = page.getByRole("dialog", { name: "Assign 2 machines" });
      await dialog.getByLabel("Group").selectOption("infra");
      await dialog.getByText("2 machines become part of infra: keel-1, keel-2.").waitFor();
      await dialog.getByRole("button", { name: "Assign", exact: true }).click();
      await dialog.getByText("1 of 2 machines are assigned to UpdateGroup infra.").waitFor();
      await dialog.getByText("There is no Node keel-2.").waitFor();
      const { metadata } = await served.admin.get(NODES, { name: "keel-1" });
      expect(metadata.labels).toMatchObject({ tier: "infra" });
      await close();
    });

    test("a slot is freed: the one that was shown, for a reason", async () => {
      const { page, close } = await operated("fleet?group=keel&machine=uid-keel-2");
      await page.getByRole("button", { name: "Free its slot … of keel-2" }).click();
      const dialog = page.getByRole("dialog", { name: "Free the slot of keel-2" });
      await dialog.getByText("another machine may go down").waitFor();
      await dialog.getByRole("textbox").fill("Its disk is on my desk.");
      await confirm(page, dialog, "Free the slot");
      expect((await machine("keel-2")).metadata.annotations).toMatchObject({
        "slipway.dev/steal": "Its disk is on my desk. (grant nonce-1)",
      });
      await close();
    });

    test("a halted group that is paused, too, is resumed, and stays halted", async () => {
      const halted = conditionOf("Halted", "FailureThresholdReached", "1 node failed: keel-2.");
      const status = { nodes: 2, conditions: [halted] };
      await declareGroup(served.admin, "keel", { spec: { channel: "nightly" }, status });
      const paused = { apiVersion: API_VERSION, kind: updateGroup.kind, metadata: { name: "keel" } };
      const asGitOps = { fieldManager: "kustomize-controller" };
      await served.admin.apply(updateGroup, { ...paused, spec: { paused: true } } as KubeObject, asGitOps);
      const { page, close } = await operated("groups/keel");
      await page.getByRole("button", { name: "Retry … keel" }).waitFor();
      await page.getByRole("button", { name: "Resume … keel" }).click();
      const dialog = page.getByRole("dialog", { name: "Resume keel" });
      await dialog.getByRole("button", { name: "Resume", exact: true }).click();
      await dialog
        .getByRole("alert")
        .getByText("spec.paused of UpdateGroup keel belongs to kustomize-controller")
        .waitFor();
      expect((await group("keel")).spec.paused).toBe(true);
      await dialog.getByLabel("Take the field all the same.").check();
      await confirm(page, dialog, "Resume");
      const { spec, metadata } = await group("keel");
      expect(spec.paused).toBe(false);
      expect(metadata.annotations?.["slipway.dev/resume"]).toBeUndefined();
      const owner = metadata.managedFields?.find(({ manager }) => manager === "slipway-console-paused");
      expect(JSON.stringify(owner)).toContain("f:paused");
      await page.getByRole("button", { name: "Pause … keel" }).waitFor();
      await page.getByRole("button", { name: "Retry … keel" }).waitFor();
      await close();
    });

    test("who may only read has none of these buttons, and is refused without them", async () => {
      const { page, close } = await opened(await served.token("viewer"), "groups/keel");
      await quarantine("Again.");
      for (const [view, told] of [
        ["groups/keel", "1 node failed: keel-2."],
        ["releases", "Again."],
        ["fleet?group=keel&machine=uid-keel-2", "Its reboot slot"],
      ] as const) {
        await show(page, view);
        await page.getByText(told).first().waitFor();
        expect([view, await page.getByRole("button", { name: BUTTONS }).count()]).toEqual([view, 0]);
      }
      const stood = await Promise.all([group("keel"), machine("keel-2")]);
      for (const [path, body, right] of [
        ["groups/keel/pause", {}, "patch updategroups.slipway.dev keel"],
        ["groups/keel/retry", { reason: "x" }, "patch updategroups.slipway.dev keel"],
        ["groups/keel/rollback", { to: "harbor-1.0.0" }, "patch channels.slipway.dev nightly"],
        ["channels/nightly/promote", { release: "harbor-1.0.0" }, "patch channels.slipway.dev nightly"],
        ["releases/harbor-1.2.0/lift", { reason: "x" }, "patch releases.slipway.dev harbor-1.2.0"],
        ["machines/uid-keel-2/steal", { reason: "x" }, "patch nodeupdates.slipway.dev keel-2"],
      ] as const)
        expect(await posted(page, path, body)).toMatchObject({ status: 403, message: mayNot(right) });
      // Of each machine by itself.
      const assigned = await posted(page, "assign", { machines: ["uid-keel-1"], group: "workers" });
      expect(assigned.machines).toMatchObject([{ done: false, message: mayNot("patch nodes keel-1") }]);
      expect(await Promise.all([group("keel"), machine("keel-2")])).toEqual(stood);
      await close();
    });

    test("a right that is taken away while the page is open is refused in words", async () => {
      const kubectl = async (args: readonly string[]) => await served.plane.kubectl(args);
      await kubectl(["create", "serviceaccount", "deputy"]);
      const binding = ["clusterrolebinding", "deputy"];
      await kubectl([
        "create",
        ...binding,
        "--clusterrole=console-operator",
        "--serviceaccount=default:deputy",
      ]);
      await kubectl([
        "create",
        "clusterrolebinding",
        "deputy-reads",
        "--clusterrole=console-viewer",
        "--serviceaccount=default:deputy",
      ]);
      const token = (await kubectl(["create", "token", "deputy"])).trim();
      const { page, close } = await opened(token, "groups/keel");
      await page.getByRole("button", { name: "Pause … keel" }).click();
      await kubectl(["delete", ...binding]);
      await expect.poll(() => mayPatch(served, "deputy"), WAIT).toBe(false);
      const dialog = page.getByRole("dialog", { name: "Pause keel" });
      await dialog.getByRole("button", { name: "Pause", exact: true }).click();
      await dialog
        .getByRole("alert")
        .getByText("deputy may not patch updategroups.slipway.dev keel: RBAC does not allow it.")
        .waitFor();
      expect((await group("keel")).spec.paused).toBe(false);
      await close();
    });
  });
}

function conditionOf(type: "Halted" | "Quarantined", reason: string, message: string) {
  const lastTransitionTime = timestamp(Date.now());
  return { type, status: "True", reason, message, lastTransitionTime } as const;
}

const mayNot = (right: string): string =>
  `system:serviceaccount:default:viewer may not ${right}: RBAC does not allow it.`;

interface Posted {
  status: number;
  message: string;
  machines?: object[];
}

/** A write as the page would send it. */
async function posted(page: Page, path: string, body: object): Promise<Posted> {
  return await page.evaluate(`(async () => {
    const headers = { "x-slipway-request": "1", "content-type": "application/json" };
    const body = ${JSON.stringify(JSON.stringify(body))};
    const answer = await fetch("api/v1/" + ${JSON.stringify(path)}, { method: "POST", headers, body });
    return { ...(await answer.json()), status: answer.status };
  })()`);
}

async function mayPatch({ plane }: Served, account: string): Promise<boolean> {
  const who = `--as=system:serviceaccount:default:${account}`;
  const answer = await plane
    .kubectl(["auth", "can-i", "patch", "updategroups.slipway.dev", who])
    // Which exits with 1 for no.
    .catch((error: unknown) => String(error));
  return answer.startsWith("yes");
}
