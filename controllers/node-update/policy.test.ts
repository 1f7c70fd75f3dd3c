import * as fc from "fast-check";
import { expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { stealOf } from "../../api/steal.ts";
import { group, live, NOW, node, observed, pod, release } from "../fixtures.ts";
import type { TakePlan } from "../grants/policy.ts";
import type { NodeView } from "./decision.ts";
import { cordonedFor, granted, under, view, withGrant } from "./fixtures.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;
const good = release("1.1.0");
const take: TakePlan = {
  uid: "uid-a",
  node: "a",
  group: "pool",
  release: "os-1.1.0",
  budgets: ["group/pool"],
  needs: 1,
  bootNeeds: 1,
  finishes: false,
  plain: false,
  aliases: [],
  why: { reason: "Granting", message: "It has waited longest." },
};

const annotated = (key: string, value: string, object: NodeUpdate = withGrant(granted)): NodeUpdate => ({
  ...object,
  metadata: { ...object.metadata, annotations: { [key]: value } },
});

test("the status says Granting, with nonce and budgets, before etcd is asked", () => {
  const { act, status } = decideNode(view({ take }), NOW);
  expect(status.step).toBe("Granting");
  expect(status.grant).toMatchObject({ nonce: "fresh", budgets: ["group/pool"], phase: "Granting" });
  expect(act).toMatchObject({ do: "take", nonce: "fresh" });
});

test("a manager that died after it said Granting asks again under the same nonce", () => {
  const asked = withGrant({ ...granted, phase: "Granting", nonce: "before" });
  expect(decideNode(view({ nodeUpdate: asked, take }), NOW).act).toMatchObject({
    do: "take",
    nonce: "before",
  });
});

test("a slot that was asked for and not given leaves no trace, so its place in the queue stays", () => {
  const asked = decideNode(view({ take }), NOW);
  const nodeUpdateNow = { ...view().nodeUpdate, status: asked.status };
  const { status } = decideNode(view({ nodeUpdate: nodeUpdateNow }), NOW + 1000);
  expect(status.grant).toBeUndefined();
  expect(status.step).toBe("Staged");
  expect(status.transitions).toEqual(view().nodeUpdate.status?.transitions);
});

test("a grant in etcd of which no status tells is adopted", () => {
  const { status } = decideNode(view({ live: live("uid-a", { phase: "Granted" }) }), NOW);
  expect(status.grant).toMatchObject({ nonce: "nonce-7", revision: 7, phase: "Granted" });
});

test("a slot under which no node was cordoned within 30 s is given back", () => {
  const { grant } = live("uid-a", { phase: "Granted" });
  const late = decideNode(under({ phase: "Granted" }, { node: node("a") }), grant.at + 31_000);
  expect(late.act).toMatchObject({ do: "revoke", why: { reason: "WaitingForGates" } });
});

test("cordon, evict, drained: in this order, and the status is never behind", () => {
  const phase = { phase: "Granted" } as const;
  const fresh = live("uid-a", phase);
  expect(decideNode(under(phase, { node: node("a"), live: fresh }), fresh.grant.at + 1000).act.do).toBe(
    "cordon",
  );
  const why = { reason: "Draining", message: "" } as const;
  const evict = { act: "evict", pods: [pod("x", "a")], left: 1, why } as const;
  expect(decideNode(under(phase, { drain: evict }), NOW).act.do).toBe("evict");
  const done = decideNode(under(phase, { drain: { act: "done", why } }), NOW);
  expect(done.act.do).toBe("markDrained");
  expect(done.status.grant?.phase).toBe("Drained");
});

test("a plain machine has nothing to drain", () => {
  const plain = withGrant(granted);
  plain.spec = { group: "pool", release: "os-1.1.0", machineRef: { machineId: "m" } };
  expect(decideNode(under({ phase: "Granted" }, { nodeUpdate: plain, node: undefined }), NOW).act.do).toBe(
    "markDrained",
  );
});

const stops: [string, Partial<NodeView>][] = [
  ["the group is paused", { group: group("pool", { paused: true }) }],
  ["the group is gone", { group: undefined }],
  ["the strategy became Off", { group: group("pool", { strategy: "Off" }) }],
  ["a person holds the node", { nodeUpdate: annotated(HOLD_ANNOTATION, "") }],
  ["the release is gone", { releases: new Map() }],
  ["the release is quarantined", { releases: new Map([["os-1.1.0", quarantined()]]) }],
  ["the agent stays away", { present: false, absentFor: 2 * MINUTE }],
  ["the Node is gone", { node: undefined, nodeGone: true }],
];

function quarantined() {
  const condition = {
    type: "Quarantined",
    status: "True" as const,
    reason: "x",
    message: "",
    lastTransitionTime: timestamp(NOW),
  };
  return { ...good, status: { conditions: [condition] } };
}

test.each(stops)("before the commit the slot is taken back when %s", (_what, change) => {
  for (const phase of ["Granted", "Drained"] as const) {
    expect(decideNode(under({ phase }, change), NOW).act.do).toBe("revoke");
  }
});

test.each(stops.slice(0, 7))("after the commit the reboot is finished although %s", (_what, change) => {
  expect(decideNode(under({ phase: "Committed", committedAt: NOW - 1000 }, change), NOW).act.do).toBe("none");
});

test("a slot that was rebuilt after a loss of etcd is asked for anew", () => {
  const grant = live("uid-a", { phase: "Granted" });
  const rebuilt = { ...grant, grant: { ...grant.grant, supersedes: { incarnation: "old", revision: 3 } } };
  expect(decideNode(under({ phase: "Granted" }, { live: rebuilt }), NOW).act.do).toBe("revoke");
});

test("a steal frees the slot once, is told, and does not hit the next one", () => {
  const stolen = annotated(STEAL_ANNOTATION, "rack 4 burnt");
  const first = decideNode(under({ phase: "Committed", committedAt: NOW }, { nodeUpdate: stolen }), NOW);
  expect(first.act).toEqual({ do: "free", cause: "Stolen" });
  expect(first.status.stolen).toBeUndefined();
  const freed = decideNode(view({ nodeUpdate: { ...stolen, status: first.status } }), NOW);
  expect(freed.status).toMatchObject({ stolen: "rack 4 burnt", reason: "Stolen" });
  const next = { ...stolen, status: { ...freed.status, grant: granted } };
  expect(decideNode(under({ phase: "Granted" }, { nodeUpdate: next }), NOW).act.do).not.toBe("free");
  const early = annotated(STEAL_ANNOTATION, "just in case", view().nodeUpdate);
  expect(decideNode(view({ nodeUpdate: early }), NOW).status.stolen).toBe("just in case");
  const long = annotated(STEAL_ANNOTATION, "x".repeat(300), view().nodeUpdate);
  expect(decideNode(view({ nodeUpdate: long }), NOW).status.stolen).toHaveLength(253);
});

test("a steal that names a grant frees no other one", () => {
  const { nonce } = granted;
  const committed = { phase: "Committed", committedAt: NOW } as const;
  const meant = annotated(STEAL_ANNOTATION, stealOf("rack 4 burnt", nonce));
  const first = decideNode(under(committed, { nodeUpdate: meant }), NOW);
  expect(first.act).toEqual({ do: "free", cause: "Stolen" });
  const freed = decideNode(view({ nodeUpdate: { ...meant, status: first.status } }), NOW);
  expect(freed.status.reason).toBe("Stolen");
  const word = stealOf("rack 4 burnt", "nonce-6");
  const late = annotated(STEAL_ANNOTATION, word);
  const spared = decideNode(under(committed, { nodeUpdate: late }), NOW);
  expect(spared.act.do).not.toBe("free");
  expect(spared.status.stolen).toBe(word);
  const ended = decideNode(view({ nodeUpdate: late }), NOW);
  expect(ended.status).toMatchObject({ stolen: word });
  expect(ended.status.reason).not.toBe("Stolen");
});

const back = { phase: "Returned", at: NOW, verdict: "Updated", committedBoot: "boot-1/0" } as const;
const returned = (changes: Partial<NodeView> = {}): NodeView => {
  const again = cordonedFor(7);
  if (again.status?.nodeInfo !== undefined) again.status.nodeInfo.bootID = "boot-2";
  return under(back, {
    observed: observed("1.1.0", "1.0.0", "boot-2"),
    node: again,
    look: { askedFor: 0, heartbeat: true },
    ...changes,
  });
};

test("a verified return frees the slot and is remembered", () => {
  const { act, status } = decideNode(returned(), NOW);
  expect(act.do).toBe("finish");
  expect(status).toMatchObject({ verifiedRelease: "os-1.1.0", verifiedAt: timestamp(NOW) });
});

test.each([
  ["its kubelet gave no sign", { look: { askedFor: 0, heartbeat: false } }],
  ["it is not Ready", { node: node("a", { ready: false }) }],
  ["it shows its former boot", { node: node("a", { boot: "boot-1" }) }],
  ["its agent is away", { present: false }],
] as [string, Partial<NodeView>][])(
  "a return is not verified while %s, and fails at its deadline",
  (_what, change) => {
    const waits = decideNode(returned(change), NOW);
    expect(waits.act.do).toBe("none");
    expect(waits.status.verifiedRelease).toBeUndefined();
    const late = decideNode(
      returned({ ...change, look: { heartbeat: false, ...change.look, askedFor: 10 * MINUTE } }),
      NOW,
    );
    expect(late.act.do).toBe("finish");
    expect(late.status.failed?.[0]?.reason).toBe("ReleaseChecksFailed");
    expect(late.status.verifiedRelease).toBeUndefined();
  },
);

test("a boot id that never was the agent's proves nothing", () => {
  expect(decideNode(returned({ node: node("a", { boot: "another namespace" }) }), NOW).act.do).toBe("finish");
});

test("a fallback is a failure at once, and frees the slot when the node is well", () => {
  const fell = live("uid-a", { ...back, verdict: "FellBack", reason: "BootChecksFailed", message: "harbor" });
  const { act, status } = decideNode(
    returned({ live: fell, observed: observed("1.0.0", "1.1.0", "boot-2") }),
    NOW,
  );
  expect(act.do).toBe("finish");
  expect(status.failed).toMatchObject([
    { release: "os-1.1.0", version: "1.1.0", reason: "BootChecksFailed" },
  ]);
});

test("a power cut is forgiven once, if others are good on the release (rule 5)", () => {
  const cut = live("uid-a", { ...back, verdict: "FellBack", reason: "PowerLost", message: "no verdict" });
  const fell = { live: cut, observed: observed("1.0.0", "1.1.0", "boot-2") };
  expect(decideNode(returned({ ...fell, othersVerified: true }), NOW).status.failed).toBeUndefined();
  expect(decideNode(returned(fell), NOW).status.failed).toHaveLength(1);
  const twice = withGrant(granted);
  const entry = {
    step: "Verifying" as const,
    time: timestamp(NOW - 60 * MINUTE),
    reason: "PowerLost",
    message: "",
  };
  const asked = { ...entry, step: "Granting" as const, time: timestamp(NOW - MINUTE), reason: "Granting" };
  twice.status = { ...twice.status, transitions: [asked, entry] };
  expect(
    decideNode(returned({ ...fell, othersVerified: true, nodeUpdate: twice }), NOW).status.failed,
  ).toHaveLength(1);
});

test("a slot that was given back is freed, and the node says why", () => {
  const { act, status } = decideNode(
    under({ phase: "Withdrawn", reason: "RebootRefused", message: "an inhibitor" }),
    NOW,
  );
  expect(act.do).toBe("finish");
  expect(status).toMatchObject({ reason: "RebootRefused", message: "an inhibitor" });
});

test("a cordon that names no living grant is undone", () => {
  expect(decideNode(view({ node: cordonedFor(3) }), NOW).act.do).toBe("uncordon");
});

test("a NodeUpdate is let go only when its slot is free", () => {
  const leaving = {
    ...withGrant(undefined),
    metadata: { ...withGrant(undefined).metadata, deletionTimestamp: timestamp(NOW) },
  };
  expect(decideNode(view({ nodeUpdate: leaving }), NOW).act.do).toBe("forget");
  expect(
    decideNode(under({ phase: "Committed", committedAt: NOW }, { nodeUpdate: leaving }), NOW).act.do,
  ).toBe("none");
  expect(decideNode(under({ phase: "Granted" }, { nodeUpdate: leaving }), NOW).act.do).toBe("revoke");
});

const stopped = fc.constantFrom<Partial<NodeView>>(...stops.slice(0, 4).map(([, change]) => change), {
  group: {
    ...group("pool"),
    status: {
      conditions: [
        { type: "Halted", status: "True", reason: "x", message: "", lastTransitionTime: timestamp(NOW) },
      ],
    },
  },
});
const phases = fc.constantFrom("Granted", "Drained", "Committed", "Returned", "Withdrawn", undefined);

test("whatever else is true: stopped, nothing is taken, cordoned, evicted or let to commit", () => {
  fc.assert(
    fc.property(
      stopped,
      phases,
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom("evict", "done", undefined),
      (stop, phase, ready, present, drained) => {
        const why = { reason: "Draining", message: "" } as const;
        const drain =
          drained === undefined
            ? undefined
            : drained === "done"
              ? ({ act: "done", why } as const)
              : ({ act: "evict", pods: [], left: 1, why } as const);
        const base = phase === undefined ? view({ take }) : under({ phase, committedAt: NOW });
        const { act } = decideNode(
          { ...base, node: node("a", { ready }), present, drain, take, ...stop },
          NOW,
        );
        expect(["take", "cordon", "evict", "markDrained"]).not.toContain(act.do);
      },
    ),
  );
});
