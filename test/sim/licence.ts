/** Whether a machine may flip and reboot now, by what people wrote and etcd committed (design, rule 4). */
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { MachineTruth } from "./truth.ts";
import { allowOpen, type World } from "./world.ts";

/** A commit's answer is good for at most 30 s from its asking; the reboot call takes a moment. */
const COMMIT_GOOD = 30_500;

export class Licence {
  readonly #world: World;
  readonly #tolerance: () => number;
  /** What forbids reboots, and since when. */
  readonly #since = new Map<string, number>();

  constructor(world: World, tolerance: () => number) {
    this.#world = world;
    this.#tolerance = tolerance;
  }

  /** Which commit is missing; undefined if a fresh one of this boot is there. */
  missing({ commit, machine }: MachineTruth): string | undefined {
    if (commit === undefined) return "no commit was ever recorded";
    if (commit.boot !== `${machine.bootId}/0`) return "its commit is of another boot";
    const age = this.#world.sim.time - commit.at;
    return age > COMMIT_GOOD ? `its commit is ${Math.round(age / 1000)} s old` : undefined;
  }

  /** What has forbidden it for longer than a gate is valid. */
  forbidden({ commit }: MachineTruth): string | undefined {
    const { sim } = this.#world;
    const before = sim.time - this.#tolerance();
    for (const [what, since] of this.#since) {
      if (since > before) continue;
      if (what.startsWith("release ") && what !== `release ${commit?.release} is quarantined`) continue;
      return `${what} for ${Math.round((sim.time - since) / 1000)} s`;
    }
    if (!this.#world.settings.windows || this.#world.api.all("rebootwindows").length === 0) return undefined;
    const slack = this.#tolerance() > 60_000 ? 600_000 : 0;
    const open =
      allowOpen(sim.wall) || (slack > 0 && (allowOpen(sim.wall + slack) || allowOpen(sim.wall - slack)));
    return open ? undefined : "no window is open";
  }

  noteGroup(group: UpdateGroup | undefined): void {
    this.#set("the group does not exist", group === undefined);
    this.#set("the group is being deleted", group?.metadata.deletionTimestamp !== undefined);
    this.#set("the group is paused", group?.spec.paused === true);
    const halted = group?.status?.conditions?.find(({ type }) => type === "Halted");
    this.#set("the group is halted", halted?.status === "True");
  }

  noteWindows(): void {
    const windows = this.#world.api.all<RebootWindow>("rebootwindows");
    this.#set(
      "a change freeze holds",
      windows.some(({ spec }) => spec.mode === "Deny"),
    );
  }

  noteReleases(): void {
    for (const { metadata, status } of this.#world.api.all<Release>("releases")) {
      const quarantined = status?.conditions?.find(({ type }) => type === "Quarantined");
      this.#set(`release ${metadata.name} is quarantined`, quarantined?.status === "True");
    }
  }

  #set(what: string, holds: boolean): void {
    if (!holds) this.#since.delete(what);
    else if (!this.#since.has(what)) this.#since.set(what, this.#world.sim.time);
  }
}
