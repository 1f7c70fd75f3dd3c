import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { X509CertificateGenerator } from "@peculiar/x509";
import { describe, expect, test } from "vitest";
import { crd } from "../../api/crd.ts";
import type { Crd } from "../../api/crd-fields.ts";
import { kinds } from "../../api/kinds.ts";
import type { Pod, Secret } from "../../runtime/core.ts";
import { recorded } from "../explain/cases.ts";
import { examine, summary, text } from "./checks.ts";
import type { DoctorFacts, Workload } from "./facts.ts";

const NOW = Date.parse("2026-01-05T12:00:00Z");

function crds(): Crd[] {
  return kinds.map((kind) => structuredClone(crd(kind)) as Crd);
}

function pod(name: string, component: string, node: string, ready = true): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      labels: { "app.kubernetes.io/part-of": "slipway", "app.kubernetes.io/component": component },
    },
    spec: { nodeName: node },
    status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  };
}

/** An installation that is well. */
function well(): { -readonly [K in keyof DoctorFacts]: DoctorFacts[K] } {
  const { snapshot } = recorded("current");
  const { lease } = snapshot;
  if (typeof lease === "string") throw new Error("no Lease was recorded");
  return {
    namespace: "slipway-system",
    crds: crds(),
    lease: [lease],
    nodes: snapshot.nodes.map((node) => ({
      ...node,
      metadata: { ...node.metadata, labels: { "slipway.dev/infrastructure": "true" } },
    })),
    pods: [
      pod("manager-0", "manager", "node-04"),
      pod("manager-1", "manager", "node-05"),
      pod("gateway-0", "gateway", "node-04"),
      pod("gateway-1", "gateway", "node-05"),
      pod("etcd-0", "etcd", "node-04"),
      pod("agent-0", "agent", "node-04"),
    ],
    secrets: [],
    etcdEvents: [],
    daemonSets: [],
    deployments: [],
    nodeUpdates: snapshot.nodeUpdates,
    declared: [],
  };
}

function lines(change: (facts: ReturnType<typeof well>) => void): string[] {
  const facts = well();
  change(facts);
  return examine(facts, NOW)
    .filter(({ level }) => level !== "ok")
    .map(({ level, check, found }) => `${level} ${check}: ${found}`);
}

function workload(kind: string, name: string, image: string): Workload {
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name, namespace: "kube-system" },
    spec: { template: { spec: { containers: [{ name: "main", image }] } } },
  };
}

/** A Secret whose certificate ends at `end`. */
async function secret(name: string, end: number): Promise<Secret> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: ["test"] }],
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(NOW - 86_400_000),
    notAfter: new Date(end),
  });
  const encoded = Buffer.from(certificate.toString("pem")).toString("base64");
  return { apiVersion: "v1", kind: "Secret", metadata: { name }, data: { "tls.crt": encoded } };
}

test("nothing is wrong", () => {
  expect(lines(() => undefined)).toEqual([]);
  const all = examine(well(), NOW);
  expect(text(all)).toMatch(/^ok {4}crds {12}all 6 kinds are there/);
  expect(summary(all, 12_000)).toBe(`${all.length} ok, 0 to look at, 0 wrong (after 12s)\n`);
});

describe("what a manager said of etcd", () => {
  const said = (eventTime: string) => ({
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name: "x" },
    note: "etcd gave no answer to a read: https://etcd-0:2379: its certificate has expired (…)",
    eventTime,
    reportingInstance: "manager-0",
  });
  const news = [said("2026-01-05T11:00:00.000000Z"), said("2026-01-05T11:58:00.000000Z")];
  const warning =
    "warn etcd: manager manager-0 said at 2026-01-05T11:58:00Z (2m ago): etcd gave no answer to a read: https://etcd-0:2379: its certificate has expired (…)";
  /** Of a manager that renewed it a second ago. */
  const acquiredAt = (facts: ReturnType<typeof well>, acquireTime: string): void => {
    const [lease] = facts.lease;
    if (typeof lease === "object") facts.lease = [{ ...lease, spec: { ...lease.spec, acquireTime } }];
  };

  test("is repeated while it is news", () => {
    const found = (events: typeof news): string[] =>
      lines((facts) => {
        acquiredAt(facts, "2026-01-05T10:00:00Z");
        facts.etcdEvents = events;
      });
    expect(found(news)).toEqual([warning]);
    expect(found(news.slice(0, 1))).toEqual([]);
  });

  test("is over once a manager began to lead, which it can't without etcd", () => {
    const found = (acquireTime: string): string[] =>
      lines((facts) => {
        acquiredAt(facts, acquireTime);
        facts.etcdEvents = news;
      });
    expect(found("2026-01-05T11:59:00Z")).toEqual([]);
    expect(found("2026-01-05T11:57:00Z")).toEqual([warning]);
  });

  test("is repeated where it was said again since", () => {
    const [, before] = news;
    const found = lines((facts) => {
      acquiredAt(facts, "2026-01-05T11:58:30Z");
      const series = { lastObservedTime: "2026-01-05T11:59:00.000000Z" };
      facts.etcdEvents = before === undefined ? [] : [{ ...before, series }];
    });
    expect(found).toEqual([warning.replace("11:58:00Z (2m ago)", "11:59:00Z (60s ago)")]);
  });

  test("is repeated where nobody leads any more", () => {
    const found = lines((facts) => {
      const [lease] = facts.lease;
      if (typeof lease === "object")
        facts.lease = [{ ...lease, spec: { ...lease.spec, holderIdentity: "" } }];
      facts.etcdEvents = news;
    });
    expect(found).toContain(warning);
  });
});

describe("the CRDs", () => {
  test("are missing", () => {
    expect(lines((facts) => (facts.crds = crds().slice(1)))).toEqual([
      "fail crds: there is no CustomResourceDefinition releases.slipway.dev",
    ]);
  });

  test("are older than this build", () => {
    const old = lines((facts) => {
      const [first, ...others] = crds();
      const schema = first?.spec.versions[0]?.schema?.openAPIV3Schema as {
        properties: { spec: { properties: object } };
      };
      Reflect.deleteProperty(schema.properties.spec.properties, "steppingStone");
      facts.crds = first === undefined ? [] : [first, ...others];
    });
    expect(old).toEqual([
      "fail crds: releases.slipway.dev is older than this build: it lacks spec.steppingStone",
    ]);
  });

  test("are newer than this plugin", () => {
    const found = lines((facts) => {
      const [first, ...others] = crds();
      const schema = first?.spec.versions[0]?.schema?.openAPIV3Schema as {
        properties: { spec: { properties: Record<string, object> } };
      };
      schema.properties.spec.properties["notYetInvented"] = { type: "string" };
      facts.crds = first === undefined ? [] : [first, ...others];
    });
    expect(found).toEqual(["warn crds: releases.slipway.dev is newer than this plugin"]);
  });

  test("serve another version", () => {
    const found = lines((facts) => {
      const all = crds();
      for (const version of all[0]?.spec.versions ?? []) version.name = "v1";
      facts.crds = all;
    });
    expect(found).toEqual(["fail crds: releases.slipway.dev does not serve v1alpha1"]);
  });
});

const agentsSilent = { status: { connected: false } };

describe("each other thing", () => {
  test.each<[string, (facts: ReturnType<typeof well>) => void, string[]]>([
    [
      "no manager ever",
      (facts) => (facts.lease = []),
      [
        "fail leader: no manager has ever led in namespace slipway-system",
        "fail etcd: no manager has ever read or written etcd",
      ],
    ],
    [
      "the manager is away",
      (facts) => {
        const [lease] = facts.lease;
        if (typeof lease === "object")
          facts.lease = [{ ...lease, spec: { ...lease.spec, renewTime: "2026-01-05T11:50:00Z" } }];
      },
      ["fail leader: no manager leads: the Lease was renewed last 2026-01-05T11:50:00Z (10m ago)"],
    ],
    [
      "Leases may not be listed",
      (facts) => (facts.lease = "leases is forbidden"),
      ["warn leader: not checked: leases is forbidden"],
    ],
    [
      "no gateway is Ready",
      (facts) =>
        (facts.pods = [pod("manager-0", "manager", "a"), pod("gateway-0", "gateway", "node-04", false)]),
      ["fail gateway: none of 1 Pod is Ready"],
    ],
    [
      "one manager is not Ready",
      (facts) =>
        (facts.pods = [
          pod("manager-0", "manager", "a"),
          pod("manager-1", "manager", "a", false),
          pod("gateway-0", "gateway", "node-04"),
        ]),
      ["warn manager: manager-1 is not Ready"],
    ],
    [
      "etcd has no quorum",
      (facts) =>
        (facts.pods = [
          ...(well().pods as readonly never[]),
          pod("etcd-1", "etcd", "node-05", false),
          pod("etcd-2", "etcd", "node-05", false),
        ]),
      ["fail etcd: 1 of 3 members Ready, and 2 make a quorum"],
    ],
    [
      "etcd gives no answers",
      (facts) =>
        (facts.nodeUpdates = recorded("current").snapshot.nodeUpdates.map((update) =>
          update.metadata.name !== "node-05"
            ? update
            : { ...update, status: { ...update.status, reason: "EtcdUnavailable" } },
        ) as DoctorFacts["nodeUpdates"]),
      [
        "fail etcd: node-05 can't be given a slot, because etcd gave no clear answer or the gates are too old",
      ],
    ],
    [
      "no agent has ever reported",
      (facts) =>
        (facts.nodeUpdates = (well().nodeUpdates as readonly object[]).map((update) => ({
          ...update,
          ...agentsSilent,
        })) as unknown as DoctorFacts["nodeUpdates"]),
      [expect.stringMatching(/^fail agents: no agent has reported yet from .*node-04/)],
    ],
    [
      "nothing is declared",
      (facts) => (facts.nodeUpdates = []),
      ["warn agents: no group has taken up a node yet"],
    ],
    [
      "a group is not accepted, and another is halted",
      (facts) =>
        (facts.declared = [
          ["Accepted", "False", "There is no Channel stable."],
          ["Halted", "True", "1 node failed."],
          ["Conflict", "True", "The groups a, b all select node-1."],
        ].map(([type = "", status = "", message = ""]) => ({
          apiVersion: "slipway.dev/v1alpha1",
          kind: "UpdateGroup",
          metadata: { name: "harbor" },
          spec: {},
          status: { conditions: [{ type, status, reason: "X", message }] },
        }))),
      [
        "fail updategroup: UpdateGroup harbor is not accepted: There is no Channel stable.",
        "warn updategroup: UpdateGroup harbor stopped itself: 1 node failed.",
        "fail updategroup: UpdateGroup harbor: The groups a, b all select node-1.",
      ],
    ],
    [
      "kured runs beside us",
      (facts) => (facts.daemonSets = [workload("DaemonSet", "kured", "ghcr.io/kubereboot/kured:1.23.0")]),
      [
        "warn others: kured runs here too (DaemonSet kube-system/kured): two coordinators, each with a budget of its own, can take down twice as many nodes",
      ],
    ],
    [
      "FLUO runs beside us",
      (facts) =>
        (facts.deployments = [
          workload("Deployment", "fluo", "ghcr.io/flatcar/flatcar-linux-update-operator:v0.10.0"),
        ]),
      [expect.stringMatching(/^warn others: the Flatcar Linux Update Operator runs here too/)],
    ],
    [
      "brupop runs beside us",
      (facts) =>
        (facts.deployments = [
          workload("Deployment", "brupop", "public.ecr.aws/bottlerocket/bottlerocket-update-operator:v1.4.0"),
        ]),
      [expect.stringMatching(/^warn others: the Bottlerocket update operator runs here too/)],
    ],
    [
      "Zincati runs beside us",
      (facts) =>
        (facts.nodes = (well().nodes as readonly { status?: { nodeInfo?: object } }[]).map((node) => ({
          ...node,
          status: {
            ...node.status,
            nodeInfo: { ...node.status?.nodeInfo, osImage: "Fedora CoreOS 44.20260101.3.0" },
          },
        })) as unknown as DoctorFacts["nodes"]),
      [expect.stringMatching(/^warn others: Zincati runs here too [(]Fedora CoreOS on node-04/)],
    ],
  ])("%s", (_name, change, found) => {
    expect(lines(change)).toEqual(found);
  });
});

test("certificates that end soon, that ended, and that are none", async () => {
  const good = await secret("slipway-etcd-server", NOW + 30 * 86_400_000);
  const soon = await secret("slipway-gateway-tls", NOW + 3 * 86_400_000);
  const ended = await secret("slipway-etcd-peer", NOW - 3_600_000);
  const none = { ...good, metadata: { name: "slipway-ca" }, data: { "ca.crt": "bm9uZQ==" } };
  const foreign = { ...ended, metadata: { name: "somebody-elses" } };
  expect(lines((facts) => (facts.secrets = [good, soon, ended, none, foreign]))).toEqual([
    "warn certificates: tls.crt of Secret slipway-system/slipway-gateway-tls ends at 2026-01-08T12:00:00Z (in 3d)",
    "fail certificates: tls.crt of Secret slipway-system/slipway-etcd-peer ended at 2026-01-05T11:00:00Z (60m ago)",
    "fail certificates: ca.crt of Secret slipway-system/slipway-ca is no certificate in PEM",
  ]);
  expect(text(examine({ ...well(), secrets: [good] }, NOW))).toContain(
    "1 certificate good for a week and longer.",
  );
});

test("every line that is not ok says what to do", () => {
  for (const change of [
    (facts: ReturnType<typeof well>) => (facts.lease = []),
    (facts: ReturnType<typeof well>) => (facts.pods = []),
  ]) {
    const facts = well();
    change(facts);
    for (const { level, todo } of examine(facts, NOW)) expect(todo === undefined).toBe(level === "ok");
  }
});
