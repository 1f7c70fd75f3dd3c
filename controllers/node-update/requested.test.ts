/** A Node without an agent of ours, whose own client asked for its reboot and goes on where an agent would. */
import { expect, it } from "vitest";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Phase, RebootRequest } from "../../coordination/records.ts";
import { live, NOW, node } from "../fixtures.ts";
import type { NodeView } from "./decision.ts";
import { cordonedFor, under, view } from "./fixtures.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;
const request: RebootRequest = { protocol: "FleetLock", group: "pool", since: NOW, seenAt: NOW };
/** Nobody ever reported from there, and others' agents are connected. */
const alone = { observed: undefined, present: false, absentFor: 60 * MINUTE, connected: 3 } as const;

function requested(phase: Partial<Phase> & Pick<Phase, "phase">): LiveGrant {
  const made = live("uid-a", phase, { release: "" });
  return {
    ...made,
    grant: { ...made.grant, target: null, requested: { protocol: "FleetLock", boot: "boot-1" } },
  };
}
const held = (phase: Partial<Phase> & Pick<Phase, "phase">, changes: Partial<NodeView> = {}) =>
  decideNode(under(phase, { ...alone, live: requested(phase), request, ...changes }), NOW);
const back: Partial<Phase> & Pick<Phase, "phase"> = {
  ...{ phase: "Returned", client: true, verdict: "Rebooted", reason: "Rebooted", committedBoot: "boot-1/0" },
};
const look = { askedFor: 1000, heartbeat: true };
const rebooted = () => ({ ...cordonedFor(7), status: node("a", { boot: "boot-2" }).status });

it("waits as one that is ready", () => {
  expect(decideNode(view({ ...alone, request }), NOW)).toMatchObject({
    ...{ step: "Staged", why: { reason: "RebootRequested" } },
  });
  expect(decideNode(view(alone), NOW)).toMatchObject({ step: "Idle", why: { reason: "WaitingForAgent" } });
});

it("is cordoned, drained, and told so, whoever misses an agent", () => {
  expect(
    held({ phase: "Granted" }, { node: node("a"), live: { ...requested({ phase: "Granted" }) } }).act,
  ).toEqual({
    ...{ do: "revoke", why: expect.objectContaining({ reason: "WaitingForGates" }) },
  });
  const fresh = requested({ phase: "Granted" });
  const now = { ...fresh, grant: { ...fresh.grant, at: NOW } };
  expect(held({ phase: "Granted" }, { node: node("a"), live: now }).act).toMatchObject({ do: "cordon" });
  const drain = { act: "done", why: { reason: "Drained", message: "" } } as const;
  expect(held({ phase: "Granted" }, { drain }).act).toEqual({ do: "markDrained" });
  // Longer than an agent may take: a client asks again after five minutes or more.
  expect(held({ phase: "Drained", at: NOW - 10 * MINUTE })).toMatchObject({ act: { do: "none" } });
});

it("gives the slot back when its client asks no more", () => {
  expect(held({ phase: "Drained" }, { request: undefined }).act).toMatchObject({
    ...{ do: "revoke", why: { reason: "Withdrawn" } },
  });
});

it("gives the slot back when an agent of ours is there: neither it nor the client would commit", () => {
  for (const phase of ["Granted", "Drained"] as const) {
    const fresh = requested({ phase, at: NOW });
    const now = { ...fresh, grant: { ...fresh.grant, at: NOW } };
    expect(held({ phase }, { request: undefined, present: true, absentFor: 0, live: now }).act).toMatchObject(
      {
        ...{ do: "revoke", why: { reason: "Withdrawn", message: expect.stringContaining("an agent runs") } },
      },
    );
  }
});

it("reboots as long as any may, and is Suspect after that", () => {
  const committed = { phase: "Committed", client: true, committedBoot: "boot-1/0" } as const;
  const since = (minutes: number) => ({ ...committed, committedAt: NOW - minutes * MINUTE });
  expect(held(since(3), { request: undefined })).toMatchObject({
    step: "Rebooting",
    why: { reason: "Committed" },
  });
  expect(held(since(30), { request: undefined })).toMatchObject({ step: "Suspect", act: { do: "none" } });
});

it("is verified without an agent: another boot, Ready, its Lease renewed", () => {
  expect(held(back, { node: rebooted(), look }).act).toEqual({ do: "finish" });
  expect(held(back, { node: rebooted(), look: { ...look, heartbeat: false } }).act).toEqual({ do: "none" });
  const unready = { ...cordonedFor(7), status: node("a", { ready: false, boot: "boot-2" }).status };
  expect(held(back, { node: unready, look }).act).toEqual({ do: "none" });
  expect(held(back, { node: cordonedFor(7), look })).toMatchObject({
    ...{ act: { do: "none" }, why: { message: expect.stringContaining("former boot") } },
  });
});

it("did not reboot, where it still shows the boot from before: that is no failure", () => {
  const late = { askedFor: 60 * MINUTE, heartbeat: true };
  const decision = held(back, { node: cordonedFor(7), look: late });
  expect(decision).toMatchObject({ act: { do: "finish" }, why: { reason: "Withdrawn" } });
  expect(decision.status.failed).toBeUndefined();
  const unready = { ...cordonedFor(7), status: node("a", { ready: false, boot: "boot-2" }).status };
  expect(held(back, { node: unready, look: late })).toMatchObject({
    ...{ act: { do: "finish" }, why: { reason: "ReleaseChecksFailed" } },
  });
});
