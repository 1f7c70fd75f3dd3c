import * as fc from "fast-check";
import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import type { Pod } from "../../runtime/core.ts";
import { NOW, pod } from "../fixtures.ts";
import { ETCD_LABEL, GATEWAY_LABEL, MANAGER_LABEL } from "../foundation.ts";
import {
  type DrainView,
  decideDrain,
  dryVerdict,
  leaving,
  OVERDUE_AFTER,
  type Refusal,
  STUCK_AFTER,
} from "./policy.ts";

const gatewayLabels = { [GATEWAY_LABEL.key]: GATEWAY_LABEL.value };
const SYSTEM = "slipway-system";

function view(changes: Partial<DrainView> = {}): DrainView {
  return {
    node: "a",
    pods: [],
    foundation: [],
    namespace: SYSTEM,
    policy: { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" },
    startedAt: NOW,
    now: NOW + 1000,
    notBefore: 0,
    refusals: new Map(),
    idleFor: 0,
    open: true,
    closes: null,
    frozen: false,
    bootNeeds: 600_000,
    revision: 7,
    rivals: [],
    ...changes,
  };
}

const no: Refusal = { by: "budget", message: "no" };

const owned = (kind: string): Pod => {
  const made = pod(`of-${kind.toLowerCase()}`, "a");
  const owner = { apiVersion: "apps/v1", kind, name: "x", uid: "x", controller: true };
  return { ...made, metadata: { ...made.metadata, ownerReferences: [owner] } };
};

test("Pods of the Jobs of this grant's hooks stay, those of other Jobs leave", () => {
  const pods = [owned("Job")];
  const named = (namespace: string, name: string) => leaving(view({ pods, hookJobs: [{ namespace, name }] }));
  expect(named("default", "x")).toEqual([]);
  expect(named("default", "y")).toEqual(pods);
  expect(named("ops", "x")).toEqual(pods);
  expect(
    leaving(view({ pods: [owned("ReplicaSet")], hookJobs: [{ namespace: "default", name: "x" }] })),
  ).toHaveLength(1);
});

test("no Pod leaves, and no reboot comes, before load balancers had their time", () => {
  const notBefore = NOW + 30_000;
  for (const pods of [[pod("web", "a")], []]) {
    expect(decideDrain(view({ pods, notBefore }))).toEqual({
      act: "wait",
      why: {
        reason: "LeavingLoadBalancers",
        message: "Load balancers have until 2026-11-23T03:00:30Z to let go of the node.",
      },
    });
    expect(decideDrain(view({ pods, notBefore, now: notBefore })).act).toBe(
      pods.length === 0 ? "done" : "evict",
    );
  }
  const off = { enabled: false, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" } as const;
  expect(decideDrain(view({ policy: off, notBefore })).act).toBe("wait");
  expect(decideDrain(view({ notBefore, closes: NOW + 60_000 })).act).toBe("abort");
});

test("what can't or need not leave stays: DaemonSets, mirror Pods, finished Pods, Pods elsewhere", () => {
  const mirror = pod("static", "a");
  mirror.metadata.annotations = { "kubernetes.io/config.mirror": "x" };
  const finished: Pod = { ...pod("done", "a"), status: { phase: "Succeeded" } };
  const pods = [
    owned("DaemonSet"),
    owned("Node"),
    mirror,
    finished,
    pod("elsewhere", "b"),
    owned("ReplicaSet"),
  ];
  expect(leaving(view({ pods })).map(({ metadata }) => metadata.name)).toEqual(["of-replicaset"]);
});

test("a Pod that is on its way out is waited for and not told again", () => {
  const going = pod("going", "a");
  going.metadata.deletionTimestamp = "2026-11-23T03:00:00Z";
  const decision = decideDrain(view({ pods: [going] }));
  expect(decision).toMatchObject({ act: "evict", pods: [], left: 1 });
});

test("a Pod that outstays its time is named, with what keeps it, until the drain's deadline and in its end", () => {
  const due = NOW + 30_000;
  const kept = pod("kept", "a", { namespace: "leaving" });
  kept.metadata.deletionTimestamp = timestamp(due);
  kept.metadata.finalizers = ["example.com/keep", "example.com/other"];
  const at = (now: number, more: Pod[] = []) => decideDrain(view({ pods: [kept, ...more], now }));
  expect(at(due + OVERDUE_AFTER - 1)).toMatchObject({ act: "evict", why: { reason: "Draining" } });
  expect(at(due + OVERDUE_AFTER)).toMatchObject({
    act: "evict",
    pods: [],
    why: {
      reason: "PodsNotEnding",
      message: `1 Pod had not left: leaving/kept; leaving/kept should have ended at ${timestamp(due)}, but its finalizer example.com/keep keeps it.`,
    },
  });
  const hung = pod("hung", "a");
  hung.metadata.deletionTimestamp = timestamp(due);
  const late = at(NOW + 600_000, [hung]);
  expect(late).toMatchObject({ act: "abort", why: { reason: "DrainTimedOut" } });
  expect((late as { why: Why }).why.message).toMatch(/finalizer example\.com\/keep keeps it, and 1 more\.$/);
  const alone = decideDrain(view({ pods: [hung], now: due + OVERDUE_AFTER }));
  expect((alone as { why: Why }).why.message).toContain("but its kubelet has not ended it");
});

test("a member of etcd stays until the reboot, and one of somebody else's leaves", () => {
  const labels = { [ETCD_LABEL.key]: ETCD_LABEL.value };
  const member = pod("slipway-etcd-0", "a", { labels, namespace: SYSTEM });
  const stranger = pod("etcd-0", "a", { labels });
  const left = leaving(view({ pods: [member, stranger] }));
  expect(left.map(({ metadata }) => metadata.name)).toEqual(["etcd-0"]);
  expect(leaving(view({ pods: [member] }))).toEqual([]);
});

test("the last manager stays: its Pod might find no other place than the node that it cordoned", () => {
  const manager = { labels: { [MANAGER_LABEL.key]: MANAGER_LABEL.value }, namespace: SYSTEM };
  const gateway = pod("gw-1", "b", { labels: gatewayLabels, namespace: SYSTEM });
  const own = pod("manager-1", "a", manager);
  const names = (pods: Pod[], foundation: Pod[]): string[] =>
    leaving(view({ pods, foundation })).map(({ metadata }) => metadata.name);
  expect(names([own, pod("web", "a")], [own])).toEqual(["web"]);
  expect(names([own], [own, gateway])).toEqual([]);
  expect(names([own], [own, pod("manager-2", "b", { ...manager, ready: false })])).toEqual([]);
  expect(names([own], [own, pod("manager-2", "b", manager)])).toEqual(["manager-1"]);
});

test("gateways leave last, and the last one that is Ready stays", () => {
  const gateway = { labels: gatewayLabels, namespace: SYSTEM };
  const own = pod("gw-1", "a", gateway);
  const other = pod("gw-2", "b", gateway);
  const sick = pod("gw-2", "b", { ...gateway, ready: false });
  const impostor = pod("gw-2", "b", { labels: gatewayLabels });
  const names = (pods: Pod[], foundation: Pod[]): string[] =>
    leaving(view({ pods, foundation })).map(({ metadata }) => metadata.name);
  expect(names([own, pod("web", "a")], [own, other])).toEqual(["web"]);
  expect(names([own], [own, other])).toEqual(["gw-1"]);
  expect(names([own], [own, sick])).toEqual([]);
  expect(names([own], [own])).toEqual([]);
  expect(names([own], [own, impostor])).toEqual([]);
  expect(names([own, { ...impostor, spec: { nodeName: "a" } }], [own])).toEqual(["gw-2"]);
});

test("a drain that takes too long is given up, or forced, and the disruption budget is named", () => {
  const late = {
    pods: [pod("web", "a")],
    now: NOW + 600_000,
    refusals: new Map([["pod-web", { ...no, message: "web needs 2 healthy pods" }]]),
  };
  expect(decideDrain(view(late))).toEqual({
    act: "abort",
    why: {
      reason: "DrainTimedOut",
      message: "After 10m 1 Pod had not left, and default/web may not be evicted: web needs 2 healthy pods",
    },
  });
  expect(decideDrain(view({ ...late, policy: { ...view().policy, onTimeout: "Force" } })).act).toBe("done");
});

test("a window that closes before boot and fallback ends the drain, unless it may finish", () => {
  const closing = { pods: [pod("web", "a")], closes: NOW + 300_000 };
  expect(decideDrain(view(closing))).toMatchObject({ act: "abort", why: { reason: "WindowClosing" } });
  expect(decideDrain(view({ ...closing, policy: { ...view().policy, onWindowClose: "Finish" } })).act).toBe(
    "evict",
  );
  expect(decideDrain(view({ pods: [pod("web", "a")], open: false })).act).toBe("abort");
  const finish = { ...view().policy, onWindowClose: "Finish" } as const;
  expect(decideDrain(view({ ...closing, open: false, policy: finish, frozen: true })).act).toBe("abort");
});

test("of two drains that don't get on only the younger gives way", () => {
  const stuck = { pods: [pod("web", "a")], refusals: new Map([["pod-web", no]]), idleFor: STUCK_AFTER };
  const elder = { node: "b", revision: 3, stuck: true };
  expect(decideDrain(view({ ...stuck, rivals: [elder] }))).toMatchObject({
    act: "abort",
    why: { reason: "DrainYielded" },
  });
  expect(decideDrain(view({ ...stuck, rivals: [{ ...elder, stuck: false }] })).act).toBe("evict");
  expect(decideDrain(view({ ...stuck, rivals: [{ ...elder, revision: 9 }] })).act).toBe("evict");
  expect(decideDrain(view({ ...stuck, idleFor: STUCK_AFTER - 1, rivals: [elder] })).act).toBe("evict");
});

test("a slot is worth taking if one Pod may leave", () => {
  const pods = [pod("x", "a"), pod("y", "a")];
  expect(dryVerdict([], new Map())).toBeUndefined();
  expect(dryVerdict(pods, new Map([["pod-x", no]]))).toBeUndefined();
  expect(
    dryVerdict(
      pods,
      new Map([
        ["pod-x", no],
        ["pod-y", no],
      ]),
    )?.reason,
  ).toBe("BlockedByDisruptionBudget");
});

test("what refuses besides a disruption budget is told first, and the Pod that it refuses is asked last", () => {
  const pods = [pod("x", "a"), pod("y", "a"), pod("z", "a")];
  const webhook: Refusal = { by: "server", message: 'admission webhook "guard" denied the request' };
  const refusals = new Map([
    ["pod-x", no],
    ["pod-y", webhook],
  ]);
  expect(dryVerdict(pods.slice(0, 2), refusals)).toEqual({
    reason: "EvictionRefused",
    message: 'No Pod could leave now: default/x, default/y. admission webhook "guard" denied the request',
  });
  const decision = decideDrain(view({ pods, refusals }));
  expect(decision).toMatchObject({
    act: "evict",
    why: { reason: "EvictionRefused", message: expect.stringContaining('"guard" denied') },
  });
  const asked = decision.act === "evict" ? decision.pods : [];
  expect(asked.map(({ metadata }) => metadata.name)).toEqual(["z", "x", "y"]);
  const late = decideDrain(view({ pods, refusals, now: NOW + 600_000 }));
  expect(late).toMatchObject({ act: "abort", why: { reason: "DrainTimedOut" } });
});

/** A cluster in small: each app has `size` Pods, of which a disruption budget wants all but `slack` to run. */
interface App {
  size: number;
  slack: number;
  /** Only these nodes have what the app needs. */
  fits: string[];
}

/**
 * Plays two drains. A Pod that was evicted runs again at once on a node that is not
 * cordoned and fits, else it is pending. Gives the nodes that got done; one that gives up
 * is uncordoned, and drained again after the other.
 */
function play(apps: readonly App[], placed: readonly (readonly string[])[]): Set<string> {
  const cordoned = new Set(["a", "b"]);
  const queue = ["a", "b"];
  const running = apps.map((_, index) => [...(placed[index] ?? [])]);
  const done = new Set<string>();
  const idle = new Map([
    ["a", 0],
    ["b", 0],
  ]);
  const refused = new Map<string, boolean>();
  const schedule = (): void => {
    for (const [index, app] of apps.entries()) {
      const list = running[index] ?? [];
      const free = app.fits.find((name) => !cordoned.has(name));
      if (free !== undefined) while (list.length < app.size) list.push(free);
    }
  };
  for (let round = 0; round < 200 && done.size < 2; round++) {
    for (const name of queue.toSorted()) {
      if (!cordoned.has(name)) {
        // The other one has to be out of the way before it is its turn again.
        if (queue.some((other) => other !== name && cordoned.has(other))) continue;
        cordoned.add(name);
        idle.set(name, 0);
      }
      const left = running.flatMap((list, index) => list.filter((on) => on === name).map(() => index));
      const pods = left.map((app, index) => pod(`${app}-${index}`, name));
      const other = name === "a" ? "b" : "a";
      const rivals =
        cordoned.has(other) && queue.includes(other)
          ? [
              {
                node: other,
                revision: other === "a" ? 1 : 2,
                stuck: refused.get(other) === true && (idle.get(other) ?? 0) >= STUCK_AFTER,
              },
            ]
          : [];
      const refusals = new Map(
        left.flatMap((app, index) =>
          (running[app]?.length ?? 0) > (apps[app]?.size ?? 0) - (apps[app]?.slack ?? 0)
            ? []
            : [[`pod-${app}-${index}`, no] as const],
        ),
      );
      refused.set(name, refusals.size > 0);
      const decision = decideDrain(
        view({
          node: name,
          pods,
          refusals,
          idleFor: idle.get(name) ?? 0,
          revision: name === "a" ? 1 : 2,
          rivals,
        }),
      );
      idle.set(name, (idle.get(name) ?? 0) + 10_000);
      if (decision.act === "done") {
        done.add(name);
        queue.splice(queue.indexOf(name), 1);
        cordoned.delete(name);
      } else if (decision.act === "abort") {
        cordoned.delete(name);
        idle.set(name, 0);
      } else {
        for (const [index, app] of left.entries()) {
          if (refusals.has(`pod-${app}-${index}`)) continue;
          const list = running[app] ?? [];
          if (list.length <= (apps[app]?.size ?? 0) - (apps[app]?.slack ?? 0)) continue;
          list.splice(list.indexOf(name), 1);
          idle.set(name, 0);
        }
      }
      schedule();
    }
  }
  return done;
}

test("two drains with disruption budgets between them never block each other for ever (rule 13)", () => {
  const apps = fc.array(
    fc.record({
      size: fc.integer({ min: 1, max: 3 }),
      slack: fc.integer({ min: 1, max: 1 }),
      on: fc.array(fc.constantFrom("a", "b"), { minLength: 3, maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 4 },
  );
  fc.assert(
    fc.property(apps, (list) => {
      const model = list.map(({ size, slack }): App => ({ size, slack, fits: ["a", "b"] }));
      expect(
        play(
          model,
          list.map(({ size, on }) => on.slice(0, size)),
        ),
      ).toEqual(new Set(["a", "b"]));
    }),
    { numRuns: 300 },
  );
});
