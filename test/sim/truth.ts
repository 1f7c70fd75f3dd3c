/**
 * What is true of the world, kept without asking Slipway: who is down and since when
 * everybody could know, who was committed, which image ran where and how its boots ended,
 * and what people asked for.
 */
import { CORDON_ANNOTATION, INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { RebootBudget } from "../../api/reboot-budget.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Node } from "../../runtime/core.ts";
import { ZONE_LABEL } from "./cluster.ts";
import type { SimMachine } from "./machine.ts";
import { GROUP_NAME, type World } from "./world.ts";

/**
 * One boot of an image that was not good on the machine before. `failed`: its checks said
 * so. `silent`: it ended without a word, by a power cut, a panic or the dead man's switch.
 */
export interface Attempt {
  image: string;
  at: number;
  ended: "running" | "silent" | "failed" | "good";
}

export interface Commit {
  at: number;
  boot: string;
  release: string;
}

export class MachineTruth {
  readonly machine: SimMachine;
  /** Simulated ms since when the API, or etcd for a plain machine, shows that it is unavailable by itself. */
  downSince: number | undefined;
  /** Undefined while it has not been up at all. */
  upAt: number | undefined;
  /** When it came back from being down. */
  upAgainAt = Number.NEGATIVE_INFINITY;
  commit: Commit | undefined;
  /** It went down by the agent's reboot under a commit, and has not come back good since. */
  away = false;
  /** A person freed its slot although it is away. */
  stolen = false;
  stolenAt = Number.NEGATIVE_INFINITY;
  /**
   * Slipway can't know what came of one of its boots: a person freed its slot, etcd was
   * lost twice under one grant, or its Node was deleted, and what its NodeUpdate remembered with it.
   */
  robbed = false;
  /** How often etcd's data was lost since its commit. */
  losses = 0;
  /** Our cordon, and only ours, keeps it unschedulable. */
  cordoned = false;
  /** A person cordoned it, when we had not. */
  personCordon = false;
  /** The firmware would boot the other slot although the running one is good. */
  flipped = false;
  attempts: Attempt[] = [];
  good = new Set<string>();
  /** When something last went wrong with it that is nobody's fault: power, network, agent. */
  troubleAt = Number.NEGATIVE_INFINITY;
  /** Since when no Pod of it could be evicted. */
  blockedSince: number | undefined;

  constructor(machine: SimMachine) {
    this.machine = machine;
  }

  get disruptedByUs(): boolean {
    return !this.stolen && (this.away || this.cordoned);
  }
}

export interface BudgetTruth {
  name: string;
  /** The largest limit of the last while: a smaller one may not be known yet. */
  max: number;
  members: MachineTruth[];
}

export class Truth {
  readonly world: World;
  readonly machines = new Map<string, MachineTruth>();
  /** By budget and limit, since when. Newest last. */
  readonly #limits = new Map<string, { at: number; max: number | undefined }[]>();
  /** When there was no gateway last. */
  gatewaysGoneAt = Number.NEGATIVE_INFINITY;
  /** uid -> machine, of every Node that there ever was. */
  readonly byUid = new Map<string, MachineTruth>();

  constructor(world: World) {
    this.world = world;
    for (const machine of world.machines) {
      const truth = new MachineTruth(machine);
      this.machines.set(machine.name, truth);
      if (machine.plain) this.byUid.set(machine.machineId, truth);
    }
  }

  of(machine: SimMachine): MachineTruth {
    const truth = this.machines.get(machine.name);
    if (truth === undefined) throw new Error(`no machine ${machine.name}`);
    return truth;
  }

  /** Budgets that bind the machine now. `tolerance`: ms that a change takes to be known. */
  budgetsOf(truth: MachineTruth, tolerance: number): BudgetTruth[] {
    const members = [...this.machines.values()].filter((each) => this.#exists(each));
    const result: BudgetTruth[] = [];
    const add = (name: string, max: number | undefined, bound: MachineTruth[]): void => {
      const largest = this.#largest(name, max, tolerance);
      if (largest !== undefined && bound.includes(truth)) result.push({ name, max: largest, members: bound });
    };
    const group = this.world.api.peek<UpdateGroup>("updategroups", GROUP_NAME);
    if (group !== undefined) {
      add(`group/${GROUP_NAME}`, Number(group.spec.maxUnavailable), members);
      const zone = members.filter(({ machine }) => machine.zone === truth.machine.zone);
      const [limit] = group.spec.topology;
      if (limit?.key === ZONE_LABEL) add(`zone/${truth.machine.zone}`, Number(limit.maxUnavailable), zone);
    }
    for (const budget of this.world.api.all<RebootBudget>("rebootbudgets")) {
      add(`budget/${budget.metadata.name}`, Number(budget.spec.maxUnavailable), members);
    }
    const infrastructure = members.filter(({ machine }) => {
      const node = machine.plain ? undefined : this.world.api.peek<Node>("nodes", machine.name);
      return node?.metadata.labels?.[INFRASTRUCTURE_LABEL] !== undefined;
    });
    add("infrastructure", 1, infrastructure);
    return result;
  }

  #exists({ machine }: MachineTruth): boolean {
    return machine.plain ? !machine.gone : this.world.api.peek<Node>("nodes", machine.name) !== undefined;
  }

  /** Called whenever specs change. */
  noteLimits(): void {
    const group = this.world.api.peek<UpdateGroup>("updategroups", GROUP_NAME);
    this.#note(`group/${GROUP_NAME}`, group === undefined ? undefined : Number(group.spec.maxUnavailable));
    const budget = this.world.api.peek<RebootBudget>("rebootbudgets", "everything");
    this.#note("budget/everything", budget === undefined ? undefined : Number(budget.spec.maxUnavailable));
  }

  #note(name: string, max: number | undefined): void {
    const history = this.#limits.get(name) ?? [];
    if (history.length > 0 && history.at(-1)?.max === max) return;
    history.push({ at: this.world.sim.time, max });
    this.#limits.set(name, history);
  }

  /** Undefined while the budget may not be known yet. */
  #largest(name: string, max: number | undefined, tolerance: number): number | undefined {
    const history = this.#limits.get(name) ?? [];
    let largest = max;
    for (const [index, entry] of history.entries()) {
      const until = history[index + 1]?.at ?? Number.POSITIVE_INFINITY;
      if (until <= this.world.sim.time - tolerance) continue;
      if (entry.max === undefined) return undefined;
      largest = Math.max(largest ?? 0, entry.max);
    }
    return largest;
  }

  /** Reads the Node again after it changed. */
  noteNode(name: string): void {
    const truth = this.machines.get(name);
    if (truth === undefined) return;
    const node = this.world.api.peek<Node>("nodes", name);
    if (node === undefined) {
      truth.robbed = true;
      truth.downSince = undefined;
      truth.cordoned = false;
      truth.personCordon = false;
      return;
    }
    if (node.metadata.uid !== undefined) this.byUid.set(node.metadata.uid, truth);
    const ready = node.status?.conditions?.find(({ type }) => type === "Ready")?.status === "True";
    const ours = node.metadata.annotations?.[CORDON_ANNOTATION] !== undefined;
    const unschedulable = node.spec?.unschedulable === true;
    truth.cordoned = unschedulable && ours && !truth.personCordon;
    const down = !ready || (unschedulable && !truth.cordoned);
    this.#noteDown(truth, down);
    this.noteReturn(truth);
  }

  /** Of a plain machine: its presence in etcd. */
  notePresence(uid: string, present: boolean): void {
    const truth = this.byUid.get(uid);
    if (truth === undefined || !truth.machine.plain) return;
    this.#noteDown(truth, !present);
  }

  #noteDown(truth: MachineTruth, down: boolean): void {
    const { time } = this.world.sim;
    if (!down) {
      if (truth.downSince !== undefined && truth.upAt !== undefined) truth.upAgainAt = time;
      truth.upAt = time;
    }
    truth.downSince = down ? (truth.downSince ?? time) : undefined;
  }

  /** A machine that went away under a commit is back once it runs a good slot. */
  noteReturn(truth: MachineTruth): void {
    const { machine } = truth;
    if (
      truth.away &&
      machine.power === "up" &&
      machine.good &&
      `${machine.bootId}/0` !== truth.commit?.boot
    ) {
      truth.away = false;
    }
  }
}
