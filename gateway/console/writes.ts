/** What people change by the JSON API: each is one small write of an object, in their name. */
import type { z } from "zod";
import { channel } from "../../api/channel.ts";
import {
  DOWNGRADE_ANNOTATION,
  QUARANTINE_ANNOTATION,
  RESUME_ANNOTATION,
  STEAL_ANNOTATION,
  STEAL_MACHINE_ANNOTATION,
} from "../../api/labels.ts";
import { machineWord } from "../../api/machine-word.ts";
import { API_VERSION, type KubeObject, timestamp } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { type Release, release } from "../../api/release.ts";
import { stealOf } from "../../api/steal.ts";
import { updateGroup } from "../../api/update-group.ts";
import { compareVersions } from "../../api/version.ts";
import { quoted } from "../../console/commands.ts";
import * as contract from "../../console/contract.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Person } from "../../runtime/access.ts";
import type { EdgeAnswer } from "../edge/server.ts";
import type { Objects } from "../objects/view.ts";
import type { ObjectWriter } from "../objects/write.ts";
import type { Call, Handlers } from "./api.ts";
import { type Assigner } from "./assign.ts";
import type { Board } from "./board.ts";
import type { ForeignMachines } from "./foreign.ts";
import { conditionOf, refusedOf } from "./group-view.ts";
import { json, Refused } from "./problem.ts";

/** One for each set of fields that is written together: an apply gives back what it does not name. */
const MANAGER = {
  release: "slipway-console-release",
  paused: "slipway-console-paused",
  words: "slipway-console",
} as const;
/** Permissions to go back that are written at once. */
const AT_ONCE = 16;
/** Longest value that the status of an object can hold. */
const LONGEST = 253;

export interface WritesOptions {
  objects: Objects;
  board: Board;
  foreign: ForeignMachines;
  writer: ObjectWriter;
  assigner: Assigner;
  coordination: Pick<Coordination, "append">;
  /** Throws where the API server is away. */
  demandFresh: () => void;
  clock: Clock;
  log: Logger;
}

type Writes = Pick<
  Handlers,
  "promote" | "pause" | "resume" | "retry" | "rollBack" | "quarantine" | "lift" | "assign" | "steal"
>;

type Work = (call: Call, person: Person) => Promise<contract.Done>;

export class WriteHandlers {
  readonly #options: WritesOptions;

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  get handlers(): Writes {
    return {
      promote: this.#write((call, person) => this.#promote(call, person)),
      pause: this.#write((call, person) => this.#pause(call, person, true)),
      resume: this.#write((call, person) => this.#pause(call, person, false)),
      retry: this.#write((call, person) => this.#retry(call, person)),
      rollBack: this.#write((call, person) => this.#rollBack(call, person)),
      quarantine: this.#write((call, person) => this.#quarantine(call, person)),
      lift: this.#write((call, person) => this.#lift(call, person)),
      assign: this.#write((call, person) => this.#assign(call, person)),
      steal: this.#write((call, person) => this.#steal(call, person)),
    };
  }

  #write(work: Work): (call: Call) => Promise<EdgeAnswer> {
    return async (call) => {
      const person = call.caller?.person;
      if (person === undefined) throw new Refused("SignInNeeded", "Sign in first.");
      this.#options.demandFresh();
      return json(await work(call, person));
    };
  }

  async #promote({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { objects } = this.#options;
    const { release: to, force } = body as z.output<typeof contract.Promote>;
    const name = part("name");
    const found = need(objects.channels.get(name), channel.kind, name);
    givable(need(objects.releases.get(to), release.kind, to));
    await this.#point(person, found, to, force);
    const groups = objects.groups.list().filter(({ spec }) => spec.channel === name);
    const stays = (found.spec.architectures ?? []).map(
      ({ architecture, release: own }) => `${architecture} stays at ${own}.`,
    );
    const paused = groups
      .filter(({ spec }) => spec.paused)
      .map(({ metadata }) => `${metadata.name} is paused.`);
    const message = `Channel ${name} points at ${to}.`;
    await this.#journal(person, { message });
    return {
      message,
      notes: [...stays, ...paused],
      kubectl: `kubectl slipway rollout promote ${name} ${to}`,
    };
  }

  async #point(person: Person, found: KubeObject, to: string, force: boolean): Promise<void> {
    const object = { ...only(found), spec: { release: to } };
    const kind = found.kind === updateGroup.kind ? updateGroup : channel;
    await this.#options.writer.apply(person, kind, object, { fieldManager: MANAGER.release, force });
  }

  async #pause({ part, body }: Call, person: Person, paused: boolean): Promise<contract.Done> {
    const { force } = body as z.output<typeof contract.Pause>;
    const name = part("name");
    const group = need(this.#options.objects.groups.get(name), updateGroup.kind, name);
    const object = { ...only(group), spec: { paused } };
    await this.#options.writer.apply(person, updateGroup, object, { fieldManager: MANAGER.paused, force });
    const verb = paused ? "pause" : "resume";
    const message = `UpdateGroup ${name} is ${verb}d.`;
    await this.#journal(person, { group: name, message });
    const notes = paused ? ["What has committed to reboot still does."] : [];
    return { message, notes, kubectl: `kubectl slipway rollout ${verb} ${name}` };
  }

  async #retry({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { reason } = body as z.output<typeof contract.Retry>;
    const name = part("name");
    const group = need(this.#options.objects.groups.get(name), updateGroup.kind, name);
    if (conditionOf(group.status, "Halted")?.status !== "True")
      throw new Refused("Invalid", `UpdateGroup ${name} is not halted: there is nothing to retry.`);
    const word = `${timestamp(this.#options.clock.now())} ${reason}`.slice(0, LONGEST);
    await this.#annotate(person, group, { [RESUME_ANNOTATION]: word });
    const message = `UpdateGroup ${name} goes on after its halt: ${reason}.`;
    await this.#journal(person, { group: name, message });
    const notes = (group.status?.failures ?? []).map(
      ({ node, release: of }) => `${node} failed on ${of} and does not try it again.`,
    );
    const kubectl = `kubectl slipway rollout retry ${name} --reason ${quoted(reason)}`;
    return { message, notes: notes.slice(0, 10), kubectl };
  }

  async #rollBack({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { objects, writer } = this.#options;
    const { to, force } = body as z.output<typeof contract.RollBack>;
    const name = part("name");
    const group = need(objects.groups.get(name), updateGroup.kind, name);
    if (group.spec.driver === "sentinel")
      throw new Refused("Invalid", `UpdateGroup ${name} only reboots its nodes: it has no release.`);
    const followed = group.spec.channel === undefined ? undefined : objects.channels.get(group.spec.channel);
    const wanted = to ?? followed?.status?.previous;
    if (wanted === undefined) throw new Refused("Invalid", "There is no release before: say which.");
    const target = need(objects.releases.get(wanted), release.kind, wanted);
    givable(target);
    // Who may move the group, before permission is given to hundreds of machines.
    const moved: KubeObject = followed ?? group;
    const kind = followed === undefined ? updateGroup : channel;
    await writer.demand({ person, verb: "patch", resource: kind, name: moved.metadata.name });
    const names = objects.nodeUpdates
      .byIndex("group", name)
      .filter(
        ({ status }) => mayBeNewer(status?.running, target) && !isImageOf(target, status?.runningRootHash),
      )
      .map(({ metadata }) => metadata.name);
    if (names.length > 0) await writer.demand({ person, verb: "patch", resource: nodeUpdate });
    // Permission first: the release moves only when every node may follow.
    const permit = { [DOWNGRADE_ANNOTATION]: wanted };
    for (let at = 0; at < names.length; at += AT_ONCE) {
      const some = names.slice(at, at + AT_ONCE);
      await Promise.all(
        some.map((one) =>
          writer.annotate(person, nodeUpdate, one, permit, { fieldManager: MANAGER.words, demanded: true }),
        ),
      );
    }
    await this.#point(person, moved, wanted, force);
    const others = objects.groups
      .list()
      .filter(
        ({ spec, metadata }) =>
          followed !== undefined && spec.channel === followed.metadata.name && metadata.name !== name,
      )
      .map(({ metadata }) => `${metadata.name} follows the channel, too; its nodes keep what is newer.`);
    const message = `UpdateGroup ${name} goes back to ${wanted}.`;
    await this.#journal(person, { group: name, message });
    const flag = to === undefined ? "" : ` --to ${to}`;
    return { message, notes: others, kubectl: `kubectl slipway rollout rollback ${name}${flag}` };
  }

  async #quarantine({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { reason } = body as z.output<typeof contract.Quarantine>;
    const name = part("name");
    const found = need(this.#options.objects.releases.get(name), release.kind, name);
    const word = `${reason} (by ${person.username})`.slice(0, LONGEST);
    await this.#annotate(person, found, { [QUARANTINE_ANNOTATION]: word });
    const message = `Release ${name} is quarantined: ${reason}.`;
    await this.#journal(person, { message });
    const kubectl = `kubectl annotate release ${name} ${QUARANTINE_ANNOTATION}=${quoted(reason)}`;
    return { message, notes: ["Nodes that run it keep it."], kubectl };
  }

  async #lift({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { reason } = body as z.output<typeof contract.Quarantine>;
    const name = part("name");
    const found = need(this.#options.objects.releases.get(name), release.kind, name);
    if (found.metadata.annotations?.[QUARANTINE_ANNOTATION] === undefined) {
      const why = conditionOf(found.status, "Quarantined");
      const said = why?.status === "True" ? `${why.message} Retry the group that halted.` : "";
      throw new Refused("Invalid", `No person quarantined Release ${name}. ${said}`.trim());
    }
    await this.#annotate(person, found, { [QUARANTINE_ANNOTATION]: null });
    const message = `The quarantine of Release ${name} is lifted: ${reason}.`;
    await this.#journal(person, { message });
    return { message, notes: [], kubectl: `kubectl annotate release ${name} ${QUARANTINE_ANNOTATION}-` };
  }

  async #assign({ body }: Call, person: Person): Promise<contract.Done> {
    const { machines, group: name } = body as z.output<typeof contract.Assign>;
    const group = need(this.#options.objects.groups.get(name), updateGroup.kind, name);
    const done = await this.#options.assigner.assign(person, machines, group);
    const moved = done.machines?.filter(({ done: is }) => is).length ?? 0;
    if (moved > 0) await this.#journal(person, { group: name, message: done.message });
    return done;
  }

  async #steal({ part, body }: Call, person: Person): Promise<contract.Done> {
    const { board } = this.#options;
    const { reason, nonce } = body as z.output<typeof contract.Steal>;
    const uid = part("uid");
    const update = board.updateOf(uid);
    if (update === undefined) return await this.#stealForeign(person, uid, reason);
    const { name } = update.metadata;
    const grant = update.status?.grant;
    if (grant === undefined) throw new Refused("Invalid", `${name} holds no slot.`);
    if (nonce !== undefined && nonce !== grant.nonce)
      throw new Refused("Conflict", `The slot of ${name} that was meant has ended: nothing was changed.`);
    const word = stealOf(reason, grant.nonce);
    if (word === update.status?.stolen)
      throw new Refused("Invalid", "That reason freed this slot before: give another one.");
    await this.#annotate(person, update, { [STEAL_ANNOTATION]: word }, update.metadata.resourceVersion);
    const message = `The slot of ${name} is freed: ${reason}.`;
    await this.#journal(person, { uid, node: name, group: update.spec.group, message });
    const kubectl = `kubectl slipway locks steal ${name} --reason ${quoted(reason)}`;
    return { message, notes: ["If it is up after all, a budget may be overrun."], kubectl };
  }

  async #stealForeign(person: Person, uid: string, reason: string): Promise<contract.Done> {
    const { foreign, objects } = this.#options;
    const machine = foreign.get(uid);
    if (machine === undefined) throw new Refused("NotFound", "There is no such machine.");
    const held = foreign.holders.get(uid)?.grant;
    if (held === undefined) throw new Refused("Invalid", `${machine.name} holds no slot.`);
    // The alias of a machine is what it says itself: another one may hold a slot by that name.
    const { node, group: name } = held;
    const group = need(objects.groups.get(name), updateGroup.kind, name);
    const word = machineWord(node, `${reason} (by ${person.username})`);
    await this.#annotate(person, group, { [STEAL_MACHINE_ANNOTATION]: word });
    const message = `The slot of ${machine.name} is freed: ${reason}.`;
    await this.#journal(person, { uid, node: machine.name, group: name, message });
    const kubectl = `kubectl slipway machines steal ${name} ${quoted(node)} --reason ${quoted(reason)}`;
    return { message, notes: ["If it is down, another one may go down beside it."], kubectl };
  }

  async #annotate(
    person: Person,
    object: KubeObject,
    annotations: Readonly<Record<string, string | null>>,
    resourceVersion?: string,
  ): Promise<void> {
    const kind = [updateGroup, release, nodeUpdate].find((one) => one.kind === object.kind) ?? channel;
    await this.#options.writer.annotate(person, kind, object.metadata.name, annotations, {
      fieldManager: MANAGER.words,
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    });
  }

  /** It is done; that nobody could write it down is no reason to say that it is not. */
  async #journal(
    person: Person,
    {
      uid = "",
      node = "",
      group = "",
      message,
    }: { uid?: string; node?: string; group?: string; message: string },
  ): Promise<void> {
    const { coordination, clock, log } = this.#options;
    const by = person.username;
    const said = `${message.replace(/\.$/, "")} (by ${by}).`;
    const entry = { at: clock.now(), uid, node, group, what: "asked", reason: "Asked", message: said, by };
    await coordination.append(entry).catch((error: unknown) => {
      log.error("what a person did can't be written to the journal", error, { user: person.username });
    });
  }
}

/** The object as a write means it: this one, and no other of that name. */
function only({ kind, metadata: { name, uid } }: KubeObject): KubeObject {
  return { apiVersion: API_VERSION, kind, metadata: { name, ...(uid === undefined ? {} : { uid }) } };
}

function need<T>(object: T | undefined, kind: string, name: string): T {
  if (object === undefined) throw new Refused("NotFound", `There is no ${kind} ${name}.`);
  return object;
}

/** Throws `Refused` for a release that nobody may move to. */
function givable({ metadata: { name }, status }: Release): void {
  const refused = refusedOf(status);
  if (refused !== undefined)
    throw new Refused("Invalid", `Release ${name} can't be given out: ${refused.message}`);
  const quarantined = conditionOf(status, "Quarantined");
  if (quarantined?.status === "True")
    throw new Refused("Invalid", `Release ${name} is quarantined: ${quarantined.message}`);
}

function isImageOf({ spec }: Release, rootHash: string | undefined): boolean {
  return rootHash !== undefined && spec.payloads.some((payload) => payload.rootHash === rootHash);
}

/** Versions that are not known yet may be newer. */
function mayBeNewer(running: string | undefined, { spec }: Release): boolean {
  return running === undefined || compareVersions(running, spec.version) >= 0;
}
