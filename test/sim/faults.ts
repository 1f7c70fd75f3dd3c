/** What goes wrong, and what people do meanwhile: drawn from the seed, one thing after the other. */

import type { Channel } from "../../api/channel.ts";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { RebootBudget } from "../../api/reboot-budget.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Node } from "../../runtime/core.ts";
import type { SimSnapshot } from "./etcd.ts";
import type { Invariants } from "./invariants.ts";
import type { SimMachine } from "./machine.ts";
import type { SeededRandom } from "./random.ts";
import { GROUP_NAME, type World } from "./world.ts";

const SECOND = 1000;

/** Each with its weight. */
const KINDS = {
  killManager: 6,
  freezeManager: 5,
  killGateway: 5,
  freezeGateway: 3,
  gatewaysAway: 3,
  killAgent: 6,
  stopAgent: 3,
  freezeAgent: 4,
  powerCut: 8,
  zonePowerCut: 2,
  isolate: 4,
  breakConnections: 4,
  etcdDown: 5,
  etcdFlaky: 5,
  etcdRestore: 2,
  etcdWipe: 2,
  apiDown: 5,
  apiLosesAnswers: 4,
  nodeRetired: 2,
  nodeReplaced: 1,
  pause: 4,
  freezeChanges: 3,
  repoint: 3,
  hold: 2,
  steal: 2,
  cordon: 3,
  resize: 3,
  clockJump: 2,
  deleteGroup: 1,
} as const;

export type FaultKind = keyof typeof KINDS;

export interface FaultPlan {
  /** Simulated ms during which faults begin. */
  length: number;
  /** Mean ms between two faults. */
  every: number;
  /** Only these, where given. */
  kinds?: readonly FaultKind[];
}

export class Faults {
  readonly #world: World;
  readonly #invariants: Invariants;
  readonly #random: SeededRandom;
  readonly #tell: (what: string) => void;
  #snapshot: SimSnapshot | undefined;
  #over = false;

  constructor(world: World, invariants: Invariants, tell: (what: string) => void) {
    this.#world = world;
    this.#invariants = invariants;
    this.#random = world.random.fork();
    this.#tell = tell;
  }

  /** Draws and schedules; everything that it breaks is whole again some time after `length`. */
  start({ length, every, kinds }: FaultPlan): void {
    const { sim } = this.#world;
    const draw = (): void => {
      if (sim.time >= length) return;
      this.#strike(kinds === undefined ? this.#kind() : this.#random.pick(kinds));
      sim.at(this.#random.below(2 * every), draw);
    };
    sim.at(20 * SECOND + this.#random.below(every), draw);
    sim.at(length, () => this.#heal());
  }

  #kind(): FaultKind {
    const kinds = Object.entries(KINDS) as [FaultKind, number][];
    let left = this.#random.below(kinds.reduce((sum, [, weight]) => sum + weight, 0));
    return kinds.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "powerCut";
  }

  /** Seconds between `least` and `most`, as ms. */
  #time(least: number, most: number): number {
    return least * SECOND + this.#random.below((most - least) * SECOND);
  }

  #machine(): SimMachine {
    const here = this.#world.machines.filter(({ gone }) => !gone);
    return this.#random.pick(here);
  }

  #trouble(machine: SimMachine, lasts = 0): void {
    const truth = this.#invariants.truth.of(machine);
    truth.troubleAt = Math.max(truth.troubleAt, this.#world.sim.time + lasts);
  }

  #strike(kind: FaultKind): void {
    const { sim, managers, gateways } = this.#world;
    const say = (what: string): void => this.#tell(`fault ${kind} ${what}`);
    switch (kind) {
      case "killManager":
        say("");
        return this.#random.pick(managers).kill();
      case "freezeManager": {
        const lasts = this.#time(2, 40);
        say(`${lasts}`);
        return this.#random.pick(managers).freeze(lasts);
      }
      case "killGateway":
        say("");
        return this.#random.pick(gateways).kill();
      case "freezeGateway": {
        const lasts = this.#time(2, 25);
        say(`${lasts}`);
        return this.#random.pick(gateways).freeze(lasts);
      }
      case "gatewaysAway": {
        const lasts = this.#time(20, 60);
        say(`${lasts}`);
        for (const gateway of gateways) gateway.kill(lasts);
        return;
      }
      case "killAgent":
      case "stopAgent":
      case "freezeAgent":
        return this.#agent(kind, say);
      case "powerCut": {
        const machine = this.#machine();
        const lasts = this.#time(3, 90);
        say(`${machine.name} ${lasts}`);
        this.#trouble(machine, lasts);
        return machine.cutPower(lasts);
      }
      case "zonePowerCut": {
        const { zone } = this.#machine();
        const lasts = this.#time(5, 60);
        say(`${zone} ${lasts}`);
        for (const machine of this.#world.machines) {
          if (machine.zone !== zone || machine.gone) continue;
          this.#trouble(machine, lasts);
          machine.cutPower(lasts);
        }
        return;
      }
      case "isolate":
      case "breakConnections":
        return this.#cutNetwork(kind, say);
      case "etcdDown":
      case "etcdFlaky":
      case "etcdRestore":
      case "etcdWipe":
        return this.#etcd(kind, say);
      case "apiDown": {
        const lasts = this.#time(5, 60);
        say(`${lasts}`);
        this.#world.api.setDown(true);
        sim.at(lasts, () => this.#world.api.setDown(false));
        return;
      }
      case "apiLosesAnswers": {
        const lasts = this.#time(10, 60);
        say(`${lasts}`);
        this.#world.api.faults.lostAnswers = 0.2;
        sim.at(lasts, () => (this.#world.api.faults.lostAnswers = 0));
        return;
      }
      case "clockJump": {
        const process = this.#random.pick([...managers, ...gateways]);
        const by = this.#random.pick([-1, 1]) * this.#time(5, 300);
        say(`${process.name} ${by}`);
        this.#invariants.skewed = true;
        process.skew = by;
        if (process.clock !== undefined) process.clock.skew = by;
        return;
      }
      case "nodeRetired":
      case "nodeReplaced":
        return this.#node(kind, say);
      default:
        this.#people(kind, say);
    }
  }

  #agent(kind: "killAgent" | "stopAgent" | "freezeAgent", say: (what: string) => void): void {
    const machine = this.#machine();
    const lasts = this.#time(2, 60);
    say(`${machine.name} ${lasts}`);
    this.#trouble(machine, kind === "freezeAgent" ? lasts : 0);
    if (kind === "killAgent") machine.killAgent(true);
    else if (kind === "stopAgent") machine.stopAgent();
    else {
      const clock = machine.agent?.clock;
      clock?.freeze();
      this.#world.sim.at(lasts, () => clock?.thaw());
    }
  }

  #cutNetwork(kind: "isolate" | "breakConnections", say: (what: string) => void): void {
    const { network, sim } = this.#world;
    const machine = this.#machine();
    const lasts = this.#time(3, 90);
    say(`${machine.name} ${lasts}`);
    if (kind === "breakConnections") {
      network.break(this.#random.chance(0.3) ? {} : { machine: machine.name }, this.#random.chance(0.5));
      return;
    }
    this.#trouble(machine, lasts);
    network.isolated.add(machine.name);
    network.break({ machine: machine.name }, false);
    sim.at(lasts, () => network.isolated.delete(machine.name));
  }

  #etcd(kind: FaultKind, say: (what: string) => void): void {
    const { etcd, etcdFaults, sim } = this.#world;
    const lasts = this.#time(3, 60);
    say(`${lasts}`);
    if (kind === "etcdDown") {
      etcdFaults.down = true;
      sim.at(lasts, () => (etcdFaults.down = false));
      return;
    }
    if (kind === "etcdFlaky") {
      etcdFaults.flaky = 0.15;
      sim.at(lasts, () => (etcdFaults.flaky = 0));
      return;
    }
    if (kind === "etcdRestore" && this.#snapshot === undefined) {
      this.#snapshot = etcd.snapshot();
      return;
    }
    if (kind === "etcdRestore" && this.#snapshot !== undefined) etcd.restore(this.#snapshot);
    else etcd.wipe();
    this.#snapshot = undefined;
    this.#invariants.etcdReplaced();
    // People notice that the machines are not known any more.
    sim.at(20 * SECOND, () => void this.#world.enrol());
  }

  /** A Node that is taken away for good, or whose machine registers anew. */
  #node(kind: "nodeRetired" | "nodeReplaced", say: (what: string) => void): void {
    const { api, sim, machines } = this.#world;
    const here = machines.filter(({ gone, plain }) => !gone && !plain);
    // One that is about to go has no Node any more. On a last one, Pods that a budget keeps apart could not leave.
    if (here.filter(({ name }) => api.peek("nodes", name) !== undefined).length < 3) return;
    const machine = this.#random.pick(here);
    say(machine.name);
    this.#trouble(machine, 60 * SECOND);
    api.remove("nodes", machine.name);
    if (kind === "nodeRetired") {
      sim.at(this.#time(0, 20), () => {
        machine.retire();
        // Its kubelet may have registered once more.
        api.remove("nodes", machine.name);
      });
      return;
    }
    // The agent's Pod goes with its Node; the kubelet registers anew when it is restarted.
    machine.killAgent(false);
    sim.at(this.#time(20, 60), () => machine.cutPower(5 * SECOND));
  }

  #people(kind: FaultKind, say: (what: string) => void): void {
    const { api, sim } = this.#world;
    const groups = (change: (group: UpdateGroup) => void): void =>
      api.edit<UpdateGroup>("updategroups", GROUP_NAME, change);
    const later = (work: () => void): void => void sim.at(this.#time(20, 120), work);
    switch (kind) {
      case "pause":
        say("");
        groups(({ spec }) => (spec.paused = true));
        return later(() => groups(({ spec }) => (spec.paused = false)));
      case "freezeChanges": {
        say("");
        const groupSelector = { matchLabels: { fleet: "harbor" } };
        const spec = {
          start: "Mon 00:00",
          duration: "24h",
          timeZone: "UTC",
          exclude: [],
          mode: "Deny",
          groupSelector,
        };
        const metadata = { name: "freeze" };
        api.put("rebootwindows", { apiVersion: API_VERSION, kind: "RebootWindow", metadata, spec } as never);
        return later(() => api.remove("rebootwindows", "freeze"));
      }
      case "repoint": {
        const to = this.#random.pick(["os-1", "os-2", "os-3"]);
        say(to);
        api.edit<Channel>("channels", "stable", ({ spec }) => (spec.release = to));
        return;
      }
      case "hold": {
        const { name, plain } = this.#machine();
        say(name);
        const hold = (value: string | undefined) => (object: { metadata: Node["metadata"] }) => {
          const annotations: Record<string, string> = { ...object.metadata.annotations };
          if (value === undefined) delete annotations[HOLD_ANNOTATION];
          else annotations[HOLD_ANNOTATION] = value;
          object.metadata.annotations = annotations;
        };
        const plural = plain ? "nodeupdates" : "nodes";
        const object =
          api.all<Node>(plural).find(({ metadata }) => metadata.name.includes(name))?.metadata.name ?? "";
        api.edit<Node>(plural, object, hold("by hand"));
        return later(() => api.edit<Node>(plural, object, hold(undefined)));
      }
      case "steal": {
        const held = api.all<NodeUpdate>("nodeupdates").filter(({ status }) => status?.grant !== undefined);
        if (held.length === 0) return;
        const { name } = this.#random.pick(held).metadata;
        say(name);
        api.edit<NodeUpdate>("nodeupdates", name, ({ metadata }) => {
          metadata.annotations = { ...metadata.annotations, [STEAL_ANNOTATION]: `because ${sim.time}` };
        });
        return;
      }
      case "cordon":
        return this.#cordon(say);
      case "resize": {
        const max = 1 + this.#random.below(3);
        say(`${max}`);
        if (this.#random.chance(0.5)) return groups(({ spec }) => (spec.maxUnavailable = max));
        return api.edit<RebootBudget>(
          "rebootbudgets",
          "everything",
          ({ spec }) => (spec.maxUnavailable = max),
        );
      }
      case "deleteGroup": {
        const group = api.peek<UpdateGroup>("updategroups", GROUP_NAME);
        if (group === undefined) return;
        say("");
        api.remove("updategroups", GROUP_NAME);
        return;
      }
      default:
    }
  }

  /** A person cordons a node that we have not, and undoes it later, unless we are at it. */
  #cordon(say: (what: string) => void): void {
    const { api, sim } = this.#world;
    const set = (name: string, value: boolean): void =>
      api.edit<Node>("nodes", name, (node) => {
        node.spec = { ...node.spec };
        if (value) node.spec.unschedulable = true;
        else delete node.spec.unschedulable;
      });
    const free = api.all<Node>("nodes").filter(({ spec }) => spec?.unschedulable !== true);
    if (free.length === 0) return;
    const { name } = this.#random.pick(free).metadata;
    say(name);
    set(name, true);
    const undo = (): void => {
      if (this.#invariants.truth.machines.get(name)?.personCordon !== true) return;
      if (api.peek<Node>("nodes", name)?.metadata.annotations?.["slipway.dev/cordon"] === undefined)
        set(name, false);
      else sim.at(10 * SECOND, undo);
    };
    sim.at(this.#time(20, 120), undo);
  }

  /** Everything works again. */
  #heal(): void {
    if (this.#over) return;
    this.#over = true;
    this.#tell("faults are over");
    const { api, etcdFaults, network, managers, gateways } = this.#world;
    api.setDown(false);
    api.faults.lostAnswers = 0;
    etcdFaults.down = false;
    etcdFaults.flaky = 0;
    network.isolated.clear();
    for (const process of [...managers, ...gateways]) {
      process.skew = 0;
      if (process.clock !== undefined) process.clock.skew = 0;
    }
  }
}
