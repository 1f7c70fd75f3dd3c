/**
 * The rules of design section 5, held against the truth of the world at the moment of
 * each event: what a machine does, each change in the API and in etcd.
 */
import { CORDON_ANNOTATION, STEAL_ANNOTATION } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { type UpdateGroup } from "../../api/update-group.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import type { ApiChange } from "./api-server.ts";
import { EtcdRules } from "./invariants-etcd.ts";
import { ReleaseRules } from "./invariants-release.ts";
import { Licence } from "./licence.ts";
import type { MachineEvent, SimMachine } from "./machine.ts";
import { type MachineTruth, Truth } from "./truth.ts";
import { Violation } from "./violation.ts";
import type { Witness, World } from "./world.ts";

/** A gate is valid for 30 s from the read that it rests on; the agent's last look takes a moment more. */
const GATE_VALIDITY = 31_500;
/** Where clocks of processes are wrong, the gate's lease and the commit's own limit bound it instead. */
const SKEWED_VALIDITY = 110_000;
/** Time that the dry run of a drain and the gates take to notice a disruption budget, ms. */
const BLOCKED_KNOWN = 62_000;

export class Invariants implements Witness {
  readonly world: World;
  readonly truth: Truth;
  /** Set once the wall clock of a process was wrong. */
  skewed = false;
  readonly #etcd: EtcdRules;
  readonly #releases: ReleaseRules;
  readonly #licence: Licence;

  constructor(world: World) {
    this.world = world;
    this.truth = new Truth(world);
    const breach = (rule: number, where: string, what: string): never => this.breach(rule, where, what);
    this.#licence = new Licence(world, () => this.tolerance);
    this.#etcd = new EtcdRules(this.truth, breach);
    this.#releases = new ReleaseRules(this.truth, breach);
  }

  /** How old the knowledge may be that a disruption rests on, ms. */
  get tolerance(): number {
    return this.skewed ? SKEWED_VALIDITY : GATE_VALIDITY;
  }

  breach(rule: number, where: string, what: string): never {
    throw new Violation(rule, this.world.seed, this.world.sim.time, where, what);
  }

  machine(machine: SimMachine, event: MachineEvent): void {
    const truth = this.truth.of(machine);
    switch (event.event) {
      case "stuck":
        return this.breach(7, machine.name, `the firmware finds nothing to boot: ${event.message}`);
      case "boot":
        if (event.image === undefined)
          this.breach(7, machine.name, `slot ${event.slot} boots an incomplete image`);
        truth.flipped = false;
        this.#releases.booted(truth, event.image);
        return undefined;
      case "bits":
        this.#bits(truth, event.next !== undefined && event.next !== machine.running, event.good);
        return undefined;
      case "reboot":
        if (event.good) this.#reboots(truth);
        return undefined;
      case "down":
        if (event.cause === "power") truth.troubleAt = this.world.sim.time;
        this.#releases.ended(truth, event.cause);
        return undefined;
      case "up":
        this.truth.noteReturn(truth);
        return undefined;
    }
  }

  /** Rules 7 and 11: a flip needs a commit's answer and an armed switch. */
  #bits(truth: MachineTruth, otherIsNext: boolean, good: boolean): void {
    const { machine } = truth;
    if (good) {
      this.#releases.markedGood(truth);
      this.truth.noteReturn(truth);
    }
    const flipped = otherIsNext && good;
    if (flipped && !truth.flipped) {
      const why = this.#licence.missing(truth);
      if (why !== undefined) this.breach(7, machine.name, `the boot priority flipped, but ${why}`);
      if (machine.deadMan === undefined) {
        this.breach(11, machine.name, "the boot priority flipped with no dead man's switch armed");
      }
    }
    truth.flipped = flipped;
  }

  /** Rules 1 and 4: a reboot needs a fresh commit, an open group, and room. */
  #reboots(truth: MachineTruth): void {
    const { machine } = truth;
    const why = this.#licence.missing(truth) ?? this.#licence.forbidden(truth);
    if (why !== undefined) this.breach(4, machine.name, `it reboots, but ${why}`);
    if (!truth.cordoned && !truth.away) this.#disrupts(truth, "reboots it");
    truth.away = true;
    // A slot that was stolen after its commit does not come back with the reboot.
    truth.stolen = truth.commit !== undefined && truth.stolenAt >= truth.commit.at;
  }

  /** Rules 1 and 12. */
  #disrupts(truth: MachineTruth, how: string): void {
    const { time } = this.world.sim;
    // A Node that is down already adds nothing, and that it came back may not be known yet. A plain machine
    // that asks for its reboot serves, also while its presence moves from one gateway to another.
    const wasDown = truth.downSince !== undefined || truth.upAgainAt > time - this.tolerance;
    if (wasDown && !truth.machine.plain) return;
    for (const { name, max, members } of this.truth.budgetsOf(truth, this.tolerance)) {
      const away = members.filter(
        (other) =>
          other !== truth &&
          (other.disruptedByUs ||
            (other.downSince !== undefined && other.downSince <= time - this.tolerance)),
      );
      if (away.length < max) continue;
      const who = away.map(({ machine, disruptedByUs }) => `${machine.name}${disruptedByUs ? " by us" : ""}`);
      const rule = name === "infrastructure" ? 12 : 1;
      this.breach(
        rule,
        truth.machine.name,
        `Slipway ${how}, but ${name} allows ${max} and has ${who.join(", ")}`,
      );
    }
  }

  api(change: ApiChange): void {
    switch (change.plural) {
      case "nodes":
        this.#node(change);
        return;
      case "pods":
        this.#pod(change);
        return;
      case "updategroups":
        this.truth.noteLimits();
        this.#licence.noteGroup(change.after as unknown as UpdateGroup | undefined);
        return;
      case "rebootbudgets":
        this.truth.noteLimits();
        return;
      case "rebootwindows":
        this.#licence.noteWindows();
        return;
      case "releases":
        this.#licence.noteReleases();
        return;
      case "nodeupdates":
        this.#nodeUpdate(change);
        return;
      default:
    }
  }

  /** Rule 6, and the cordon as a disruption. */
  #node({ before, after, by }: ApiChange): void {
    const name = after?.metadata.name ?? before?.metadata.name ?? "";
    const truth = this.truth.machines.get(name);
    if (truth === undefined) return;
    const was = before?.spec?.["unschedulable"] === true;
    const is = after?.spec?.["unschedulable"] === true;
    const ours = (node: ApiChange["after"]): boolean =>
      node?.metadata.annotations?.[CORDON_ANNOTATION] !== undefined;
    if (by === "person" && after !== undefined) {
      if (!was && is) truth.personCordon = true;
      if (was && !is) truth.personCordon = false;
    }
    if (by.startsWith("manager") && after !== undefined) {
      if (was && !is && (truth.personCordon || !ours(before))) {
        this.breach(6, name, "Slipway undid a cordon that is not its own");
      }
      if (!was && is && !ours(after)) this.breach(6, name, "Slipway cordoned and left no word of it");
      if (!was && is) {
        this.#disrupts(truth, "cordons it");
        const since = truth.blockedSince;
        if (since !== undefined && since <= this.world.sim.time - BLOCKED_KNOWN) {
          this.breach(13, name, "Slipway took a slot although none of its Pods can leave");
        }
      }
    }
    this.truth.noteNode(name);
  }

  /** Rule 12: a gateway's Pod leaves last, and only if another is Ready. */
  #pod({ before, after, by }: ApiChange): void {
    if (after !== undefined || before === undefined || !by.startsWith("manager")) return;
    const { name } = before.metadata;
    if (!name.startsWith("gateway-")) return;
    const node = before.spec?.["nodeName"];
    const others = this.world.api.all<Pod>("pods");
    const another = others.some(
      ({ metadata, spec, status }) =>
        metadata.name.startsWith("gateway-") &&
        spec?.nodeName !== node &&
        status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") === true,
    );
    if (!another) this.breach(12, String(node), `${name} was evicted, and no other gateway is Ready`);
  }

  #nodeUpdate({ before, after, by }: ApiChange): void {
    const [old, now] = [before, after] as unknown as (NodeUpdate | undefined)[];
    const steal = now?.metadata.annotations?.[STEAL_ANNOTATION];
    if (steal !== undefined && steal !== old?.metadata.annotations?.[STEAL_ANNOTATION] && by === "person") {
      const truth = this.truth.byUid.get(now?.spec.nodeUID ?? now?.spec.machineRef?.machineId ?? "");
      if (truth !== undefined) this.#etcd.stealing.add(truth);
    }
    if (now !== undefined) this.#releases.judged(now, old);
  }

  etcd(changed: readonly string[], by: string | undefined): void {
    this.#etcd.changed(changed, by);
  }

  /** etcd's data was lost or went back in time. */
  etcdReplaced(): void {
    this.#etcd.replaced();
  }

  /** After every step: what has no event of its own. */
  step(): void {
    const { cluster, sim } = this.world;
    if (sim.time < this.#nextSample) return;
    this.#nextSample = sim.time + 1000;
    if (this.world.network.doors.size === 0) this.truth.gatewaysGoneAt = sim.time;
    for (const truth of this.truth.machines.values()) {
      if (truth.machine.plain) continue;
      if (cluster.blocked(truth.machine.name)) truth.blockedSince ??= sim.time;
      else truth.blockedSince = undefined;
    }
  }

  #nextSample = 0;

  /** At rest: faults are over, and time enough has passed. */
  rest(): void {
    const left = this.unrest();
    if (left !== undefined) this.breach(left.rule, left.where, left.what);
  }

  /** What still keeps the world from being at rest. */
  unrest(): { rule: number; where: string; what: string } | undefined {
    for (const key of this.world.etcd.records.keys()) {
      if (key.startsWith("/slipway/grants/")) return { rule: 3, where: key, what: "a grant was never ended" };
    }
    for (const { metadata } of this.world.api.all<Node>("nodes")) {
      if (metadata.annotations?.[CORDON_ANNOTATION] !== undefined) {
        return { rule: 6, where: metadata.name, what: "a cordon of ours was left behind" };
      }
    }
    for (const truth of this.truth.machines.values()) {
      const { machine } = truth;
      if (machine.gone) continue;
      if (machine.power !== "up" || !machine.good) {
        return { rule: 7, where: machine.name, what: `it does not run a good slot (power ${machine.power})` };
      }
      if (machine.deadMan !== undefined) {
        return { rule: 11, where: machine.name, what: "the dead man's switch was left armed" };
      }
      if (truth.flipped) return { rule: 7, where: machine.name, what: "it was left flipped" };
    }
    return this.#releases.unrest();
  }
}
