import { describe, expect, test } from "vitest";
import { REBOOT_ANNOTATION, STEAL_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { Phase } from "../../coordination/records.ts";
import { group, live, NOW, node, nodeUpdate, nodeView, observed, release } from "../fixtures.ts";
import { groupOpening } from "../window/policy.ts";
import { type NodeView, stoppedBecause } from "./decision.ts";
import { desiredOf } from "./desired.ts";
import { whileOpen } from "./drain-view.ts";
import { decideNode } from "./policy.ts";
import { wantedOf } from "./target.ts";

const WHY = "new firmware";
const releases = new Map([["os-1.1.0", release("1.1.0")]]);

function asking(status: NodeUpdateStatus = {}, more: Record<string, string> = {}): NodeUpdate {
  const made = nodeUpdate("a", "pool", "os-1.1.0", status);
  return { ...made, metadata: { ...made.metadata, annotations: { [REBOOT_ANNOTATION]: WHY, ...more } } };
}

function view(update: NodeUpdate, changes: Partial<NodeView> = {}): NodeView {
  return nodeView({ nodeUpdate: update, observed: observed("1.1.0", undefined), ...changes });
}

function under(update: NodeUpdate, phase: Partial<Phase> & Pick<Phase, "phase">): NodeView {
  const grant = live("uid-a", phase, { release: "" });
  return view(update, { live: { ...grant, grant: { ...grant.grant, asked: WHY } } });
}

describe("what is wanted", () => {
  const wanted = (running: string, staged: string | undefined, spec = {}) =>
    wantedOf(asking(), group("pool", spec), releases, observed(running, staged));

  test("a machine that runs what it should reboots as it is, and its agent is told that it was asked for", () => {
    const reboot = wanted("1.1.0", undefined);
    expect(reboot).toEqual({ kind: "reboot", asked: WHY });
    const desired = desiredOf(asking(), group("pool"), reboot, observed("1.1.0", undefined), true);
    expect(desired.policy?.rebootAsked).toBe(true);
    expect(desired.target).toBeUndefined();
  });

  test("an image that is ready is booted with it; one that is not does not hold it up", () => {
    expect(wanted("1.0.0", "1.1.0").kind).toBe("image");
    expect(wanted("1.0.0", undefined).kind).toBe("reboot");
  });

  test("strategy Off lets the machine reboot, but into what it runs", () => {
    expect(wanted("1.0.0", "1.1.0", { strategy: "Off" }).kind).toBe("reboot");
    const off = {
      nodeUpdate: asking(),
      node: node("a"),
      nodeGone: false,
      group: group("pool", { strategy: "Off" }),
    };
    expect(stoppedBecause(off)).toBeUndefined();
    expect(stoppedBecause({ ...off, nodeUpdate: asking({ rebooted: WHY }) })?.reason).toBe("StrategyOff");
  });

  test("sentinel: no marker is needed", () => {
    expect(wanted("1.1.0", undefined, { driver: "sentinel" })).toEqual({ kind: "reboot", asked: WHY });
  });
});

test("it says that it was asked for, and by what word", () => {
  expect(decideNode(view(asking()), NOW).status).toMatchObject({
    step: "Staged",
    reason: "RebootAsked",
    message: `A person asked for a reboot: ${WHY}.`,
  });
});

test("the commit uses the word up; then the annotation goes, and with it the memory of the word", () => {
  expect(decideNode(under(asking(), { phase: "Drained" }), NOW).status.rebooted).toBeUndefined();
  const { status } = decideNode(under(asking(), { phase: "Committed", committedAt: NOW }), NOW);
  expect(status).toMatchObject({ rebooted: WHY, grant: { asked: WHY } });
  const free = { ...status };
  delete free.grant;
  const after = decideNode(view(asking(free)), NOW);
  expect(after.act).toEqual({ do: "unask" });
  expect(after.status.reason).toBe("Current");
  const clean = nodeUpdate("a", "pool", "os-1.1.0", after.status);
  expect(decideNode(view(clean), NOW).status.rebooted).toBeUndefined();
});

test("a commit that led to no reboot leaves the word as it was", () => {
  const withdrawn = under(asking({ rebooted: WHY }), { phase: "Withdrawn", reason: "CommitExpired" });
  const { status, act } = decideNode(withdrawn, NOW);
  expect(act.do).toBe("finish");
  expect(status.rebooted).toBeUndefined();
});

test("a person who takes the word back takes the slot back, as long as nothing is committed", () => {
  const silent = nodeUpdate("a", "pool", "os-1.1.0", {});
  const back = "The person who asked for the reboot took that back.";
  const said = (seen: NodeView): string | undefined => decideNode(seen, NOW).status.message;
  for (const phase of ["Granted", "Drained"] as const) {
    expect(said(under(asking(), { phase }))).not.toBe(back);
    expect(said(under(silent, { phase }))).toBe(back);
    expect(decideNode(under(silent, { phase }), NOW).act.do).toBe("revoke");
  }
  expect(decideNode(under(silent, { phase: "Committed", committedAt: NOW }), NOW).act.do).not.toBe("revoke");
  const { live: held, ...rest } = under(asking(), { phase: "Drained" });
  if (held === undefined) throw new Error("it holds a slot");
  expect(said({ ...rest, live: { ...held, grant: { ...held.grant, inFreeze: true } } })).toBe(back);
});

test("a Suspect whose slot is stolen is not rebooted again", () => {
  const { status } = decideNode(under(asking(), { phase: "Committed", committedAt: NOW - 86_400_000 }), NOW);
  expect(status.step).toBe("Suspect");
  const free = { ...status };
  delete free.grant;
  expect(decideNode(view(asking(free, { [STEAL_ANNOTATION]: "gone" })), NOW).act.do).toBe("unask");
});

test("its drain knows no window, and a change freeze unless the person said otherwise", () => {
  const opening = groupOpening(group("pool", { windows: "OnlyInWindows" }), [], NOW);
  const seen = (grant: { asked?: string; inFreeze?: boolean }, freezesAt: number | null) =>
    whileOpen({ ...opening, freezesAt }, grant, 60_000, NOW);
  expect(seen({}, null)).toEqual({ open: false, closes: null, frozen: false });
  expect(seen({ asked: "" }, null)).toEqual({ open: true, closes: null, frozen: false });
  expect(seen({ asked: "", inFreeze: false }, NOW + 59_000)).toEqual({
    open: false,
    closes: null,
    frozen: true,
  });
  expect(seen({ asked: "", inFreeze: true }, NOW + 59_000)).toEqual({
    open: true,
    closes: null,
    frozen: false,
  });
});

test("the time in the status is not part of the word", () => {
  expect(
    decideNode(view(asking({ rebooted: "another word", since: timestamp(NOW) })), NOW).status.reason,
  ).toBe("RebootAsked");
});

test("its leave speaks of no flip", () => {
  const { bootId = "", softReboots = 0 } = observed("1.1.0", undefined).boot ?? {};
  const committedBoot = `${bootId}/${softReboots}`;
  const seen = under(asking(), { phase: "Committed", committedAt: NOW - 1000, committedBoot });
  expect(decideNode(seen, NOW).status).toMatchObject({
    reason: "Committed",
    message: "The agent may reboot now.",
  });
});
