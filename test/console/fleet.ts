/** A fleet as it stands in the API server in the middle of a rollout: what the manager would have written. */
import { channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { GROUP_LABEL } from "../../api/labels.ts";
import { API_VERSION, type KubeObject, timestamp } from "../../api/meta.ts";
import { type NodeUpdateStatus, nodeUpdate } from "../../api/node-update.ts";
import { rebootBudget } from "../../api/reboot-budget.ts";
import { rebootWindow } from "../../api/reboot-window.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroupStatus, updateGroup } from "../../api/update-group.ts";
import type { RestClient } from "../../runtime/rest-client.ts";

const ZONES = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
const AS = { fieldManager: "slipway-test" };
/** Writes at once; an API server on two cores is not faster with more. */
const SIDE_BY_SIDE = 16;

/** As many as the tests of the page declare. */
export const WORKERS = 40;

const HOUR = 3_600_000;
const ago = (ms: number): string => timestamp(Date.now() - ms);

function condition(type: string, status: "True" | "False", reason: string, message: string) {
  return { type, status, reason, message, lastTransitionTime: ago(HOUR / 3) };
}

/** Applies an object, then its status. */
export async function declare(
  client: RestClient,
  resource: Resource,
  name: string,
  { spec, status, labels }: { spec: object; status?: object; labels?: Record<string, string> },
): Promise<void> {
  const object = { apiVersion: API_VERSION, kind: resource.kind, metadata: { name } };
  const metadata = { name, ...(labels === undefined ? {} : { labels }) };
  await client.apply(resource, { ...object, metadata, spec } as KubeObject, AS);
  if (status === undefined) return;
  await client.apply(resource, { ...object, status } as KubeObject, { ...AS, subresource: "status" });
}

const HASHES = { "1.0.0": "a", "1.1.0": "b", "1.2.0": "c" } as const;
export type Version = keyof typeof HASHES;

async function declareRelease(client: RestClient, version: Version, status: object): Promise<void> {
  const hash = HASHES[version].repeat(64);
  const blob = { urls: [`https://images.example.org/${version}`], size: 1000, sha256: hash };
  const payload = { architecture: "amd64", image: blob, manifest: blob, rootHash: hash, signatures: [] };
  const spec = { version, product: "dev.slipway.harbor", payloads: [payload] };
  await declare(client, release, `harbor-${version}`, { spec, status });
}

/** Workers in the middle of a rollout, databases that halted, edges that are paused, and a group that is done. */
export async function declareRollouts(client: RestClient, workers = WORKERS): Promise<void> {
  const accepted = condition("Accepted", "True", "Accepted", "The release can be given out.");
  await declareRelease(client, "1.0.0", { running: workers - 10, failed: 0, conditions: [accepted] });
  const quarantined = condition(
    "Quarantined",
    "True",
    "FailureThresholdReached",
    "UpdateGroup databases halted on it.",
  );
  await declareRelease(client, "1.1.0", { running: 10, failed: 1, conditions: [accepted, quarantined] });
  await declareRelease(client, "1.2.0", { running: 0, failed: 0, conditions: [accepted] });
  const promotions = [
    { release: "harbor-1.1.0", time: ago(2 * HOUR) },
    { release: "harbor-1.0.0", time: ago(500 * HOUR) },
  ];
  await declare(client, channel, "stable", {
    spec: { release: "harbor-1.1.0" },
    status: { current: "harbor-1.1.0", previous: "harbor-1.0.0", promotions },
  });
  await declareGroup(client, "workers", {
    spec: {
      stages: [
        { name: "canary", count: 2, soak: "10m" },
        { name: "tenth", count: Math.max(4, workers / 10) },
      ],
    },
    status: {
      ...{ stage: "tenth", nodes: workers, updated: 10, inFlight: 4, failed: 0, unavailable: 3, limit: 5 },
      stages: [
        { name: "canary", size: 2, verified: 2, openedAt: ago(2 * HOUR), passedAt: ago(HOUR) },
        { name: "tenth", size: Math.max(4, workers / 10), verified: 3, openedAt: ago(HOUR) },
      ],
      conditions: [condition("Progressing", "True", "RollingOut", "4 nodes are under way to 1.1.0.")],
    },
  });
  await declareGroup(client, "databases", {
    status: {
      ...{ nodes: 3, updated: 0, inFlight: 0, failed: 1, unavailable: 0, limit: 1 },
      failures: [
        {
          ...{ node: "db-1", release: "harbor-1.1.0", reason: "BootChecksFailed" },
          ...{ message: "etcd.service did not become active within 5m.", time: ago(HOUR / 2) },
        },
      ],
      conditions: [
        condition(
          ...(["Halted", "True", "FailureThresholdReached"] as const),
          "1 node failed on harbor-1.1.0, as many as the group allows: db-1 (BootChecksFailed).",
        ),
      ],
    },
  });
  await declareGroup(client, "edge", {
    spec: { paused: true },
    status: {
      ...{ nodes: 12, updated: 4, inFlight: 0, failed: 0, unavailable: 0, limit: 2 },
      conditions: [condition("Progressing", "False", "Paused", "A person paused the group.")],
    },
  });
  await declareGroup(client, "infra", {
    status: {
      ...{ nodes: 3, updated: 3, inFlight: 0, failed: 0, unavailable: 0, limit: 1 },
      conditions: [
        condition("Ready", "True", "UpToDate", "Every node runs the target."),
        condition("Progressing", "False", "UpToDate", "Every node runs the target."),
      ],
    },
  });
  const selector = { matchLabels: { tier: "workers" } };
  await declare(client, rebootWindow, "nights", {
    spec: { start: "Mon-Fri 02:00", duration: "3h", timeZone: "Europe/Berlin", groupSelector: selector },
    status: { open: false, nextOpenings: nights(5), next: nights(1)[0]?.start },
  });
  await declare(client, rebootWindow, "year-end", {
    spec: { start: "00:00", duration: "24h", mode: "Deny", groupSelector: selector },
    status: { open: false, nextOpenings: [{ start: at(4, 0), end: at(6, 0) }], next: at(4, 0) },
  });
  await declare(client, rebootBudget, "zones", {
    spec: { nodeSelector: selector, maxUnavailable: 4, topologyKey: "topology.kubernetes.io/zone" },
    status: {
      ...{ members: workers, limit: 4, unavailable: 3, holders: 3, waiting: 6 },
      domains: ZONES.map((domain, index) => ({
        ...{ domain, members: Math.ceil(workers / 3), limit: 4, unavailable: 1, holders: [nameOf(index)] },
      })),
    },
  });
}

export async function declareGroup(
  client: RestClient,
  name: string,
  { spec = {}, status }: { spec?: object; status: Partial<UpdateGroupStatus> },
): Promise<void> {
  const whole = {
    nodeSelector: { matchLabels: { tier: name } },
    ...{ channel: "stable", maxUnavailable: 1, windows: "OnlyInWindows", ...spec },
  };
  const target = { target: "harbor-1.1.0", version: "1.1.0" };
  await declare(client, updateGroup, name, {
    spec: whole,
    status: { ...target, ...status },
    labels: { tier: name },
  });
}

/** At `hour` o'clock UTC, `days` from today. */
function at(days: number, hour: number): string {
  const midnight = Math.floor(Date.now() / (24 * HOUR)) * 24 * HOUR;
  return timestamp(midnight + days * 24 * HOUR + hour * HOUR);
}

function nights(count: number): { start: string; end: string }[] {
  return Array.from({ length: count }, (_, index) => ({ start: at(index + 1, 1), end: at(index + 1, 4) }));
}

export const nameOf = (index: number): string => `worker-${String(index + 1).padStart(4, "0")}`;

type Told = Pick<NodeUpdateStatus, "step" | "reason" | "message"> & { version?: Version };

/** A few of each; the rest waits, or is done. */
const TOLD: readonly Told[] = [
  { step: "Rebooting", reason: "Committed", message: "The machine may reboot now." },
  { step: "Draining", reason: "Draining", message: "3 Pods are still to leave." },
  { step: "Verifying", reason: "VerifyingRelease", message: "The node is not Ready yet.", version: "1.1.0" },
  { step: "Suspect", reason: "Suspect", message: "Away for 11 min; its boot may take 6 min." },
  { step: "Failed", reason: "BootChecksFailed", message: "etcd.service did not become active within 5m." },
  { step: "Staging", reason: "Fetching", message: "41 % of the image is written." },
  ...Array.from({ length: 4 }, () => ({
    ...{
      step: "Staged" as const,
      reason: "WaitingForTurn",
      message: "Other nodes stand before it in the queue.",
    },
  })),
];

export function toldOf(index: number): Told {
  const told = TOLD[index];
  if (told !== undefined) return told;
  return index % 4 === 0
    ? { step: "Idle", reason: "Current", message: "The node runs what it should.", version: "1.1.0" }
    : { step: "Idle", reason: "WaitingForStage", message: "The node's stage has not opened." };
}

export function statusOf(
  index: number,
  { version = "1.0.0", step = "Idle", reason = "", message = "" }: Told,
): NodeUpdateStatus {
  const updated = version === "1.1.0";
  const since = ago(60_000 * (index % 50));
  const slot = (name: "A" | "B", of: Version) => ({
    ...{
      name,
      version: of,
      rootHash: HASHES[of].repeat(64),
      priority: name === "A" ? 1 : 2,
      tries: 0,
      successful: true,
    },
  });
  const holds = ["Draining", "Rebooting", "Verifying", "Suspect"].includes(step);
  return {
    ...{ zone: ZONES[index % ZONES.length] ?? "", architecture: "amd64", running: version, target: "1.1.0" },
    ...{ step, reason, message, since, connected: step !== "Rebooting" && step !== "Suspect" },
    ...(step === "Staging" ? { progress: 41 } : {}),
    slots: [slot("A", "1.0.0"), slot("B", "1.1.0")],
    slotA: `1.0.0 p1 good${updated ? "" : " *"}`,
    slotB: `1.1.0 p2 good${updated ? " *" : ""}`,
    bootId: `boot-${index}`,
    ...(holds
      ? {
          grant: {
            ...{ nonce: `nonce-${index}`, budgets: ["group/workers"], since, release: "harbor-1.1.0" },
            phase: step === "Draining" ? ("Granted" as const) : ("Committed" as const),
          },
        }
      : {}),
    transitions: [
      { step, time: since, reason, message },
      { step: "Staging", time: ago(HOUR), reason: "Fetching", message: "The agent fetches the image." },
    ],
  };
}

/** `count` workers, by name from the first. */
export async function declareWorkers(client: RestClient, count: number): Promise<void> {
  await sideBySide(count, async (index) => {
    const name = nameOf(index);
    await declare(client, nodeUpdate, name, {
      spec: { nodeName: name, nodeUID: `uid-${name}`, group: "workers", release: "harbor-1.1.0" },
      status: statusOf(index, toldOf(index)),
      labels: { [GROUP_LABEL]: "workers" },
    });
  });
}

export async function tell(client: RestClient, index: number, told: Told): Promise<void> {
  const object = { apiVersion: API_VERSION, kind: nodeUpdate.kind, metadata: { name: nameOf(index) } };
  const status = statusOf(index, told);
  const as = { ...AS, subresource: "status", force: true } as const;
  await client.apply(nodeUpdate, { ...object, status } as KubeObject, as);
}

export async function sideBySide(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: SIDE_BY_SIDE }, async () => {
      while (next < count) {
        const index = next;
        next += 1;
        await work(index);
      }
    }),
  );
}
