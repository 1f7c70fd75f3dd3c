/** A fleet for the tests of this room: objects by name, and agents that do as they are told. */
import type { Channel } from "../../api/channel.ts";
import { WITHHELD_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import { type Release, ReleaseSpec } from "../../api/release.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../../api/update-group.ts";
import type { Rivals } from "../rivals/policy.ts";
import { exposure } from "./exposure.ts";
import type { MachineFacts, NodeFacts } from "./member.ts";
import { decideRollout, type RolloutDecision, type RolloutSnapshot } from "./policy.ts";
import { thresholdOf } from "./stage.ts";

export const MINUTE = 60_000;

/** A root hash that is a function of the name. */
export function rootHashOf(name: string): string {
  return Buffer.from(name).toString("hex").padEnd(64, "0").slice(0, 64);
}

export function releaseOf(name: string, version: string, more: Partial<ReleaseSpec> = {}): Release {
  const blob = { urls: ["https://images.example/x"], size: 1, sha256: "0".repeat(64) };
  return {
    apiVersion: API_VERSION,
    kind: "Release",
    metadata: { name, generation: 1 },
    spec: ReleaseSpec.parse({
      version,
      product: "os",
      payloads: [{ architecture: "amd64", image: blob, manifest: blob, rootHash: rootHashOf(name) }],
      ...more,
    }),
  };
}

export function groupOf(name: string, spec: Partial<UpdateGroupSpec> = {}): UpdateGroup {
  return {
    apiVersion: API_VERSION,
    kind: "UpdateGroup",
    metadata: { name, generation: 1, uid: `group-${name}` },
    spec: UpdateGroupSpec.parse({
      nodeSelector: { matchLabels: { pool: name } },
      ...(spec.release === undefined && spec.driver !== "sentinel" ? { channel: "stable" } : {}),
      windows: "Always",
      ...spec,
    }),
  };
}

export function channelOf(release: string, more: Partial<Channel["spec"]> = {}): Channel {
  return {
    apiVersion: API_VERSION,
    kind: "Channel",
    metadata: { name: "stable", generation: 1 },
    spec: { release, ...more },
  };
}

export class Fleet {
  now = Date.parse("2026-11-23T12:00:00Z");
  groups: UpdateGroup[] = [];
  channels: Channel[] = [];
  releases: Release[] = [];
  windows: RebootWindow[] = [];
  nodes: NodeFacts[] = [];
  machines: MachineFacts[] | undefined = [];
  nodeUpdates: NodeUpdate[] = [];
  rivals: Rivals | undefined;
  tallies: RolloutSnapshot["tallies"];

  constructor(group: UpdateGroup, nodes: number) {
    this.groups.push(group);
    this.releases.push(releaseOf("os-1", "1.0.0"), releaseOf("os-2", "2.0.0"));
    this.channels.push(channelOf("os-2"));
    for (let index = 1; index <= nodes; index++) this.addNode(`n${index}`, group.metadata.name);
  }

  addNode(name: string, pool: string, labels: Record<string, string> = {}): void {
    const node = {
      name,
      uid: `uid-${name}`,
      labels: { pool, ...labels },
      architecture: "amd64",
      available: true,
      held: false,
    };
    this.nodes.push(node);
  }

  group(name: string): UpdateGroup {
    const found = this.groups.find((group) => group.metadata.name === name);
    if (found === undefined) throw new Error(`no group ${name}`);
    return found;
  }

  /** Changes the spec of a group, as a person does. */
  edit(name: string, spec: Partial<UpdateGroupSpec>, metadata: Partial<UpdateGroup["metadata"]> = {}): void {
    this.groups = this.groups.map((group) =>
      group.metadata.name === name
        ? { ...group, spec: { ...group.spec, ...spec }, metadata: { ...group.metadata, ...metadata } }
        : group,
    );
  }

  decide(name: string): RolloutDecision {
    return decideRollout(
      {
        group: this.group(name),
        groups: this.groups,
        channels: new Map(this.channels.map((channel) => [channel.metadata.name, channel])),
        releases: new Map(this.releases.map((release) => [release.metadata.name, release])),
        windows: this.windows,
        rivals: this.rivals,
        tallies: this.tallies,
        nodes: this.nodes,
        machines: this.machines,
        nodeUpdates: this.nodeUpdates,
      },
      this.now,
    );
  }

  /** Decides and carries out, as the controller does, for every group. */
  reconcile(): RolloutDecision {
    let first: RolloutDecision | undefined;
    for (const { metadata } of this.groups) {
      const decision = this.decide(metadata.name);
      first ??= decision;
      this.groups = this.groups.map((group) =>
        group.metadata.name === metadata.name ? { ...group, status: decision.groupStatus } : group,
      );
      for (const { name, labels, annotations, owned, spec } of decision.nodeSpecs) {
        const before = this.nodeUpdates.find((update) => update.metadata.name === name);
        const others = Object.entries(before?.metadata.annotations ?? {}).filter(
          ([key]) => !owned.includes(key),
        );
        const after: NodeUpdate = {
          apiVersion: API_VERSION,
          kind: "NodeUpdate",
          metadata: {
            name,
            uid: `nu-${name}`,
            labels,
            annotations: { ...Object.fromEntries(others), ...annotations },
          },
          spec,
          status: before?.status ?? this.#report("os-1"),
        };
        this.nodeUpdates = [...this.nodeUpdates.filter((update) => update.metadata.name !== name), after];
      }
      const removed = new Set(decision.removals.map((removal) => removal.name));
      this.nodeUpdates = this.nodeUpdates.filter((update) => !removed.has(update.metadata.name));
    }
    if (first === undefined) throw new Error("there is no group");
    return first;
  }

  update(name: string): NodeUpdate {
    const found = this.nodeUpdates.find((update) => update.metadata.name === name);
    if (found === undefined) throw new Error(`no NodeUpdate ${name}`);
    return found;
  }

  /** Nodes that were given `release`. */
  given(release: string): string[] {
    return this.nodeUpdates
      .filter((update) => update.spec.release === release)
      .map((update) => update.metadata.name)
      .toSorted();
  }

  setStatus(name: string, status: Partial<NodeUpdateStatus>): void {
    this.nodeUpdates = this.nodeUpdates.map((update) =>
      update.metadata.name === name ? { ...update, status: { ...update.status, ...status } } : update,
    );
  }

  annotate(name: string, annotations: Record<string, string>): void {
    this.nodeUpdates = this.nodeUpdates.map((update) =>
      update.metadata.name === name
        ? {
            ...update,
            metadata: { ...update.metadata, annotations: { ...update.metadata.annotations, ...annotations } },
          }
        : update,
    );
  }

  /** Whether a planner would grant `name` its release now. */
  mayGrant(name: string): boolean {
    const { spec, status, metadata } = this.update(name);
    const release = this.releases.find((candidate) => candidate.metadata.name === spec.release);
    if (release === undefined || status?.grant !== undefined || status?.running === release.spec.version)
      return false;
    if (metadata.annotations?.[WITHHELD_ANNOTATION] !== undefined) return false;
    const group = this.group(spec.group);
    const threshold = thresholdOf(group);
    const { resumedAt } = group.status ?? {};
    const forgotten = resumedAt === undefined ? undefined : Date.parse(resumedAt);
    return exposure(this.nodeUpdates, release, threshold, forgotten).room > 0;
  }

  grant(name: string): void {
    const release = this.update(name).spec.release ?? "";
    const since = this.#time();
    this.setStatus(name, {
      step: "Rebooting",
      grant: { nonce: "x", budgets: [], phase: "Committed", release, since },
    });
  }

  /** The machine comes back on what it was granted, verified. */
  succeed(name: string): void {
    const release = this.update(name).status?.grant?.release ?? this.update(name).spec.release ?? "";
    this.#back(name, { ...this.#report(release), verifiedRelease: release, verifiedAt: this.#time() });
  }

  /** The machine comes back on what it ran before. */
  fail(name: string, reason = "FellBack"): void {
    const { status, spec } = this.update(name);
    const release = status?.grant?.release ?? spec.release ?? "";
    const failure = {
      release,
      version: release,
      rootHash: rootHashOf(release),
      reason,
      message: "unit kubelet.service is failed",
      time: this.#time(),
    };
    this.#back(name, { step: "Idle", failed: [...(status?.failed ?? []), failure] });
  }

  /** Grants and completes everything that may be, until nothing changes. */
  run(outcome: (name: string) => "succeed" | "fail" = () => "succeed", step = MINUTE, most = 200): void {
    for (let turn = 0; turn < most; turn++) {
      this.reconcile();
      const next = this.nodeUpdates.find((update) => this.mayGrant(update.metadata.name))?.metadata.name;
      if (next === undefined) return;
      this.grant(next);
      this.now += step;
      if (outcome(next) === "succeed") this.succeed(next);
      else this.fail(next);
    }
  }

  #back(name: string, status: Partial<NodeUpdateStatus>): void {
    this.setStatus(name, status);
    this.nodeUpdates = this.nodeUpdates.map((update) => {
      if (update.metadata.name !== name) return update;
      const { grant: _, ...rest } = update.status ?? {};
      return { ...update, status: rest };
    });
  }

  #report(release: string): NodeUpdateStatus {
    const version =
      this.releases.find((candidate) => candidate.metadata.name === release)?.spec.version ?? "0.0.0";
    return {
      running: version,
      runningRootHash: rootHashOf(release),
      architecture: "amd64",
      connected: true,
      step: "Idle",
    };
  }

  #time(): string {
    return new Date(this.now).toISOString();
  }
}
