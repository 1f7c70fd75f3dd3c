/** Rules 5, 8 and 10: how boots are judged, how far a bad release spreads, who is blamed. */
import type { Channel } from "../../api/channel.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { DownCause } from "./machine.ts";
import type { MachineTruth, Truth } from "./truth.ts";
import { GROUP_NAME, rootHash } from "./world.ts";

type Breach = (rule: number, where: string, what: string) => never;

/** Failures that halt a group; in the first stage one does. */
const THRESHOLD = 2;
/** How long ago trouble may be that explains a failure of a good release, ms: a boot, its deadlines and a late report. */
const TROUBLE = 600_000;

/** Nobody may take a Pod away that its owner needs; what failed for other causes waits for a person. */
const PERSONS = ["BlockedByDisruptionBudget", "NeverAgain"];

export class ReleaseRules {
  readonly #truth: Truth;
  readonly #breach: Breach;

  constructor(truth: Truth, breach: Breach) {
    this.#truth = truth;
    this.#breach = breach;
  }

  booted(truth: MachineTruth, image: string): void {
    const { machine } = truth;
    if (image === rootHash(1) || truth.good.has(image)) return;
    const before = truth.attempts.filter((attempt) => attempt.image === image);
    if (before.some(({ ended }) => ended === "failed")) {
      this.#breach(8, machine.name, `it boots ${name(image)} again, which failed there`);
    }
    const silent = before.filter(({ ended }) => ended === "silent").length;
    const others = [...this.#truth.machines.values()].some(
      (other) => other !== truth && other.good.has(image),
    );
    if (!truth.robbed && (silent > 1 || (silent === 1 && !others))) {
      this.#breach(
        5,
        machine.name,
        `it boots ${name(image)} again, which ended ${silent} times without a verdict`,
      );
    }
    truth.attempts.push({ image, at: this.#truth.world.sim.time, ended: "running" });
    this.#exposure(truth, image);
  }

  /** Rule 8: until k are good on it, at most k may have it without that. */
  #exposure(truth: MachineTruth, image: string): void {
    const all = [...this.#truth.machines.values()];
    const last = (each: MachineTruth): string | undefined =>
      each.attempts.findLast((attempt) => attempt.image === image)?.ended;
    const good = all.filter((each) => each.good.has(image)).length;
    const k = this.#truth.world.settings.staged && good === 0 ? 1 : THRESHOLD;
    if (good >= k) return;
    // Who steals a slot is told that limits may be overrun.
    const exposed = all.filter((each) => !each.robbed && ["running", "failed"].includes(last(each) ?? ""));
    if (exposed.length <= k) return;
    const who = exposed.map(({ machine }) => machine.name).join(", ");
    this.#breach(8, truth.machine.name, `${name(image)} is unverified on ${who}; only ${k} may be`);
  }

  markedGood(truth: MachineTruth): void {
    const { machine } = truth;
    truth.good.add(machine.image);
    const attempt = truth.attempts.findLast(({ ended }) => ended === "running");
    if (attempt?.image === machine.image) attempt.ended = "good";
  }

  ended(truth: MachineTruth, cause: DownCause): void {
    const attempt = truth.attempts.findLast(({ ended }) => ended === "running");
    if (attempt !== undefined) attempt.ended = cause === "reboot" ? "failed" : "silent";
  }

  /** Rule 10: a release that is good there is blamed only for trouble that there was. */
  judged(now: NodeUpdate, before: NodeUpdate | undefined): void {
    const truth = this.#truth.byUid.get(now.spec.nodeUID ?? now.spec.machineRef?.machineId ?? "");
    if (truth === undefined) return;
    const known = new Set(
      (before?.status?.failed ?? []).map(({ rootHash: hash, time }) => `${hash} ${time}`),
    );
    const { sim, defectOf } = this.#truth.world;
    for (const { rootHash: hash, time, reason, message } of now.status?.failed ?? []) {
      if (known.has(`${hash} ${time}`)) continue;
      if (defectOf(hash, truth.machine) !== undefined) continue;
      if (sim.time - truth.troubleAt <= TROUBLE) continue;
      const handshake = message.includes("gateway-handshake");
      if (handshake && sim.time - this.#truth.gatewaysGoneAt <= TROUBLE) continue;
      this.#breach(
        10,
        now.metadata.name,
        `${name(hash)} is good there and was blamed: ${reason}: ${message}`,
      );
    }
  }

  /** Rule 8: a release that failed on a machine is in its NodeUpdate's list, whatever was lost meanwhile. */
  #forgotten(): { rule: number; where: string; what: string } | undefined {
    const { world } = this.#truth;
    const nodeUpdates = world.api.all<NodeUpdate>("nodeupdates");
    for (const truth of this.#truth.machines.values()) {
      const { machine, attempts } = truth;
      const uid = world.uidOf(machine);
      const status = nodeUpdates.find(
        ({ spec }) => (spec.nodeUID ?? spec.machineRef?.machineId) === uid,
      )?.status;
      if (status === undefined || machine.gone || truth.robbed) continue;
      const lost = attempts.find(
        ({ image, ended }) =>
          ended === "failed" &&
          !truth.good.has(image) &&
          status.failed?.some((failure) => failure.rootHash === image) !== true,
      );
      if (lost === undefined) continue;
      const what = `${name(lost.image)} failed there, and its NodeUpdate does not say so`;
      return { rule: 8, where: machine.name, what };
    }
    return undefined;
  }

  /** Liveness: a good release that nothing and nobody holds up reaches every machine. */
  unrest(): { rule: number; where: string; what: string } | undefined {
    const { world } = this.#truth;
    const forgotten = this.#forgotten();
    if (forgotten !== undefined) return forgotten;
    const target = this.#target();
    if (target === undefined) return undefined;
    const image = rootHash(target);
    const machines = [...this.#truth.machines.values()].filter((each) => this.#expected(each));
    // A bad release may stop everything, where it is asked for or runs; a downgrade needs a person's word.
    const bad = ({ machine }: MachineTruth): boolean =>
      [image, machine.image].some((each) => world.defectOf(each, machine) !== undefined);
    if ([...this.#truth.machines.values()].some(bad)) return undefined;
    if (machines.some(({ machine }) => Number(machine.image[0]) > target)) return undefined;
    const nodeUpdates = world.api.all<NodeUpdate>("nodeupdates");
    if (nodeUpdates.some(({ status }) => status?.failed?.some((failure) => failure.rootHash === image)))
      return undefined;
    for (const { machine } of machines) {
      if (machine.image === image || world.cluster.guarded(machine.name)) continue;
      const uid = world.uidOf(machine);
      const status = nodeUpdates.find(
        ({ spec }) => (spec.nodeUID ?? spec.machineRef?.machineId) === uid,
      )?.status;
      if (PERSONS.includes(status?.reason ?? "")) continue;
      const what = `it does not come to run os-${target}: ${status?.step} ${status?.reason}: ${status?.message}`;
      return { rule: 0, where: machine.name, what };
    }
    return undefined;
  }

  /** Number of the release that all should come to run; undefined where a person or a halt is in the way. */
  #target(): number | undefined {
    const { api } = this.#truth.world;
    const group = api.peek<UpdateGroup>("updategroups", GROUP_NAME);
    if (group === undefined || group.spec.paused || group.metadata.deletionTimestamp !== undefined)
      return undefined;
    if (group.status?.conditions?.some(({ type, status }) => type === "Halted" && status === "True"))
      return undefined;
    if (api.all<RebootWindow>("rebootwindows").some(({ spec }) => spec.mode === "Deny")) return undefined;
    const channel = api.peek<Channel>("channels", "stable");
    return Number(channel?.spec.release?.replace("os-", ""));
  }

  #expected({ machine, personCordon }: MachineTruth): boolean {
    if (machine.gone || personCordon) return false;
    return machine.plain || this.#truth.world.uidOf(machine) !== undefined;
  }
}

function name(image: string): string {
  return `os-${image[0] ?? "?"}`;
}
