/**
 * Omaha v3 at `/v1/update`: events first, then the ping, then the check, for each app of a request. A refusal is
 * `noupdate`, never an error, and its reason is kept in the machine's record; where etcd gives no answer nothing is
 * offered, and what an event would have ended is found by the version at a later check.
 */
import type { Why } from "../../api/reasons.ts";
import { groupRefusal } from "../../coordination/admission.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { uidOf } from "../../coordination/identity.ts";
import type { MachineView } from "../../coordination/machine-view.ts";
import type { ForeignMachine, Offer, Offered } from "../../coordination/records.ts";
import { type Sighting, withSighting } from "../../coordination/updates.ts";
import { type MachineCredentials, type ShownCredentials, whyRefused } from "../../pki/machine-credentials.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { type EdgeAnswer, plain, type Route } from "../edge/server.ts";
import type { Sightings } from "../machines/sightings.ts";
import type { RequestCounts } from "./counts.ts";
import { meaningOf } from "./event.ts";
import { Look, type Seen } from "./look.ts";
import {
  decideCheck,
  decideFollower,
  describe,
  endingOf,
  isAsKnown,
  isIdle,
  isProgress,
  refuseShared,
  sinceWhen,
  stateOf,
  toldBy,
} from "./policy.ts";
import { type OmahaApp, OmahaError, type OmahaRequest, parseRequest } from "./request.ts";
import { type AppAnswer, type OmahaUpdate, renderResponse } from "./response.ts";

const PREFIX = "/v1/update";
/** A request of update_engine has about 1 KiB. */
const MAX_BODY = 64 * 1024;
/** A machine that says nothing new is written down again after so long, ms: it asks each 45 min. */
const LAST_SEEN = 300_000;

export interface OmahaOptions {
  coordination: Pick<Coordination, "takeUpdate" | "endUpdate" | "readForeignMachine" | "putForeignMachine">;
  /** As it was read last: another object after each look. */
  fleet: () => Seen | undefined;
  /** What etcd knows of the machines, some seconds late at most while it is fresh. */
  machines: Pick<MachineView, "fresh" | "full" | "get">;
  sightings: Pick<Sightings, "get" | "note" | "written">;
  credentials: MachineCredentials;
  /** Whether machines of the group need show nothing. */
  isOpen: (group: string) => boolean;
  /** Base of the URLs under which machines reach us, for payloads that we serve. */
  publicUrl?: string;
  clock: Clock;
  random: Pick<Random, "uuid">;
  log: Logger;
  /** `outcome`: `offered`, the reason of a refusal, or `ping`, `event`, `follower`, `refused`. */
  meter: (outcome: string) => void;
  /** What was passed over, since nothing is known of it. */
  unknown: (kind: "attribute" | "element" | "event", count: number) => void;
  /** Requests over time, for those who look back. */
  counts?: Pick<RequestCounts, "saw">;
}

/** `/v1/update`, `/v1/update/` and `/v1/update/SECRET`, as people write either into SERVER=. */
export function omahaRoute(options: OmahaOptions): Route {
  let seen: Seen | undefined;
  let desk: Desk = { ...options, look: new Look(seen) };
  const current = (): Desk => {
    const newest = options.fleet();
    if (newest !== seen) desk = { ...options, look: new Look(newest) };
    seen = newest;
    return desk;
  };
  return {
    prefix: PREFIX,
    maxBody: MAX_BODY,
    answer: async (request) => {
      if (request.method !== "POST")
        return { ...plain(405, "Omaha is spoken by POST.\n"), headers: { allow: "POST" } };
      const [, secret] = /^\/v1\/update(?:\/([\w-]{1,128}))?\/?$/.exec(request.path) ?? [];
      let parsed: OmahaRequest;
      try {
        parsed = parseRequest(request.body);
      } catch (error) {
        if (!(error instanceof OmahaError)) throw error;
        options.meter("refused");
        return plain(400, `${error.code}: ${error.message}\n`);
      }
      countUnknown(parsed, options.unknown);
      return await answerAll(current(), parsed, { secret, certificate: request.certificate });
    },
  };
}

function countUnknown({ unknown, apps }: OmahaRequest, count: OmahaOptions["unknown"]): void {
  const events = apps.flatMap(({ events }) => events).filter((event) => meaningOf(event).is === "unknown");
  if (unknown.attribute > 0) count("attribute", unknown.attribute);
  if (unknown.element > 0) count("element", unknown.element);
  if (events.length > 0) count("event", events.length);
}

interface Desk extends OmahaOptions {
  look: Look;
}

async function answerAll(options: Desk, request: OmahaRequest, shown: ShownCredentials): Promise<EdgeAnswer> {
  const { clock, look, credentials, isOpen, meter } = options;
  const now = clock.now();
  const apps: AppAnswer[] = [];
  for (const app of request.apps) {
    const offer = look.offerFor(app, now);
    const place =
      offer === undefined ? placeOf(options, app) : { group: offer.group, offer, open: isOpen(offer.group) };
    const mayAsk =
      place === undefined || place.open || credentials.accepts(shown, place.group, app.machineId);
    if (offer !== undefined && !mayAsk) {
      meter("refused");
      return plain(403, `${whyRefused(shown, offer.group, app.machineId)}\n`);
    }
    if (offer !== undefined && !request.follows) options.counts?.saw(offer.group, app, now);
    const offered = request.follows
      ? answerFollower(options, app, offer, now)
      : await answerApp(options, app, mayAsk ? place : undefined, request.onDemand, now);
    apps.push({
      ...{ appId: app.sentId, ping: app.ping, events: app.events.length },
      check: app.check ? (offered ?? "noupdate") : undefined,
    });
  }
  return { status: 200, type: "text/xml; charset=utf-8", body: renderResponse({ apps }, now) };
}

/**
 * Where nothing is offered: the manager is away, or the group serves the machine no more. What ends its update is told
 * once, and must not be lost meanwhile.
 */
function placeOf({ machines }: Desk, app: OmahaApp): Place | undefined {
  const known = machines.get(uidOf(app.machineId));
  if (known?.update === undefined || known.product !== app.id) return undefined;
  return { group: known.update.group, offer: undefined, open: known.update.open === true };
}

/** Of whom a machine is: of a group that offers something, or of the one that gave it the update that it has. */
interface Place {
  group: string;
  offer: Offer | undefined;
  /** Whether its machines need show nothing; without an offer, whether this one needed not when it was offered its update. */
  open: boolean;
}

/** What is offered; undefined for nothing. Never fails: a machine that gets an error would report one, and ask twice. */
async function answerApp(
  options: Desk,
  app: OmahaApp,
  place: Place | undefined,
  onDemand: boolean,
  now: number,
): Promise<OmahaUpdate | undefined> {
  const { coordination, look, log, meter } = options;
  if (app.machineId === "" || place === undefined) {
    meter(place === undefined ? look.whyNone : "refused");
    return undefined;
  }
  const { group, offer } = place;
  const uid = uidOf(app.machineId);
  const inView = options.machines.fresh ? options.machines.get(uid) : undefined;
  const known = inView !== undefined && isAsKnown(app, group, inView) ? inView : undefined;
  if (known !== undefined && answeredFromMemory(options, app, place, onDemand, uid, known, now))
    return undefined;
  try {
    // What it gets is decided anew by its record, in the transaction that gives it.
    const before =
      known !== undefined && isIdle(app, known) ? known : await coordination.readForeignMachine(uid);
    // Ids cost nothing to make up, and each has a record for half a year.
    if (before === undefined && (options.machines.full || offer === undefined)) {
      meter("refused");
      return undefined;
    }
    const { stored, machine, noted } = await settle(options, app, place, uid, before, onDemand, now);
    if (!app.check || offer === undefined) {
      meter(app.check ? look.whyNone : app.events.length > 0 ? "event" : "ping");
      await remember(options, uid, stored, machine, noted, now);
      return undefined;
    }
    const result = await check(options, app, offer, onDemand, uid, machine);
    if ("reason" in result) {
      meter(result.reason);
      const why = sinceWhen(result, machine.why, now);
      await remember(options, uid, stored, { ...machine, why }, noted, now);
      return undefined;
    }
    meter("offered");
    return result;
  } catch (error) {
    if (!(error instanceof EtcdUnavailable)) throw error;
    meter("EtcdUnavailable");
    log.error("etcd gives no answer to a machine; it is offered nothing", error, { machine: app.machineId });
    return undefined;
  }
}

/**
 * Whether nothing is offered, nothing ends and nothing is new but the time, or how far a download is, by what is in
 * memory: etcd is not asked then. Where the view lags behind a machine that has just got an update keeps it, and its
 * slot, until a later check; what reports other events, asks while it has an update, or might get one, goes by etcd.
 */
function answeredFromMemory(
  { sightings, look, publicUrl, meter }: Desk,
  app: OmahaApp,
  { offer }: Place,
  onDemand: boolean,
  uid: string,
  known: ForeignMachine,
  now: number,
): boolean {
  if (known.update !== undefined) {
    const state = isProgress(app, known, now) ? stateOf(app) : undefined;
    if (state === undefined) return false;
    const told = { history: toldBy(app, onDemand, now), progress: { at: known.update.at, state } };
    if (!sightings.note(uid, { lastSeen: now, why: known.why, ...told })) return false;
    meter("event");
    return true;
  }
  if (!isIdle(app, known) || offer === undefined) return false;
  let why = known.why;
  if (app.check) {
    const decided = refuseShared(known, now) ?? decideCheck(app, uid, known, offer, onDemand, publicUrl);
    const refusal =
      "reason" in decided ? decided : look.refusalOf(uid, offer, decided.offered.release, onDemand, now);
    if (refusal === undefined) return false;
    why = sinceWhen(refusal, known.why, now);
  }
  meter(app.check ? (why?.reason ?? "") : app.events.length > 0 ? "event" : "ping");
  const isNews = now - known.lastSeen >= LAST_SEEN || why?.reason !== known.why?.reason;
  if (isNews && sightings.get(uid) === undefined) sightings.note(uid, { lastSeen: now, why });
  return true;
}

/** A server that follows us reads what machines are offered. It takes no slot, and nothing is written of it. */
function answerFollower(
  { fleet, publicUrl, meter }: Desk,
  app: OmahaApp,
  offer: Offer | undefined,
  now: number,
): OmahaUpdate | undefined {
  meter("follower");
  if (offer === undefined || !app.check) return undefined;
  const decided = decideFollower(app, offer, publicUrl);
  if ("reason" in decided) return undefined;
  const { offered, last } = decided;
  // What a person or a failure stopped here goes no further; a window binds reboots, not servers.
  const gate = fleet()?.groupGates.get(offer.group);
  if (groupRefusal(offer.group, gate, offered.release, now, 0, true) !== undefined) return undefined;
  return { ...updateOf(offered), place: last ? "target" : "floor" };
}

/**
 * What its events, its version and its boot say of the update that it has. `stored`: its record in etcd, as far as is
 * known; `noted`: what `machine` has beside that, and is not written yet.
 */
async function settle(
  { coordination, sightings, publicUrl, log }: OmahaOptions,
  app: OmahaApp,
  { group, offer }: Place,
  uid: string,
  before: ForeignMachine | undefined,
  onDemand: boolean,
  now: number,
): Promise<{ stored: ForeignMachine | undefined; machine: ForeignMachine; noted?: Sighting | undefined }> {
  const noted = before && sightings.get(uid);
  const known = before && noted ? withSighting(before, noted) : before;
  const machine = describe(app, group, known, now, onDemand);
  const { update } = machine;
  if (update === undefined) return { stored: before, machine, noted };
  const ending = endingOf(app, machine, now);
  if (ending === undefined) {
    const state = stateOf(app);
    return {
      ...{ stored: before, noted },
      machine: state === undefined ? machine : { ...machine, update: { ...update, state } },
    };
  }
  const { group: from, release } = update;
  // What it most likely hears next is written with the end, so that it need not be written after it.
  const next =
    app.check && ending.how === "good" && offer !== undefined
      ? decideCheck(app, uid, machine, offer, onDemand, publicUrl)
      : undefined;
  const told =
    next !== undefined && "reason" in next ? { ...machine, why: sinceWhen(next, machine.why, now) } : machine;
  const ended = await coordination.endUpdate({ uid, machine: told, ...ending });
  if (ended !== undefined) {
    sightings.written(uid, noted);
    log.info("the update of a machine ended", { machine: app.machineId, group: from, release, ...ending });
  }
  const stored = ended ?? (await coordination.readForeignMachine(uid));
  return { stored, machine: stored ?? { ...machine, update: undefined } };
}

async function check(
  { coordination, look, isOpen, publicUrl, clock, random, log }: Desk,
  app: OmahaApp,
  offer: Offer,
  onDemand: boolean,
  uid: string,
  machine: ForeignMachine,
): Promise<OmahaUpdate | Why> {
  // Not even what it has is taken back: who asks need not be who has it.
  const shared = refuseShared(machine, clock.now());
  if (shared !== undefined) return shared;
  const decided = decideCheck(app, uid, machine, offer, onDemand, publicUrl);
  const { update } = machine;
  const wanted = "reason" in decided ? undefined : decided.offered.release;
  if (update !== undefined && (update.release !== wanted || update.group !== offer.group)) {
    // It asks, so it does not reboot into what it was offered before.
    await coordination.endUpdate({ uid, machine, how: "withdrawn", code: 0 });
  }
  if ("reason" in decided) return decided;
  const { offered } = decided;
  // A machine in a fleet that waits would otherwise cost etcd as much as one that updates.
  const shut =
    update === undefined ? look.refusalOf(uid, offer, offered.release, onDemand, clock.now()) : undefined;
  if (shut !== undefined) return shut;
  const result = await coordination.takeUpdate({
    ...{ uid, name: app.machineId, group: offer.group, nonce: random.uuid() },
    ...{ release: offered.release, version: offered.version, threshold: offer.threshold, machine },
    ...(isOpen(offer.group) ? { open: true } : {}),
    ...(offer.resumedAt === undefined ? {} : { resumedAt: offer.resumedAt }),
    ...(offer.retriedAt === undefined ? {} : { retriedAt: offer.retriedAt }),
    ...(offer.rate === undefined || onDemand ? {} : { rate: offer.rate }),
  });
  if (result.outcome === "refused") return result.why;
  if (result.outcome === "granted") {
    log.info("a machine was offered a release", {
      machine: app.machineId,
      group: offer.group,
      release: offered.release,
    });
  }
  return updateOf(offered);
}

function updateOf({ version, codebases, payload, extras }: Offered): OmahaUpdate {
  const [first = "", ...others] = codebases;
  return { version, codebases: [first, ...others], payload, extras };
}

/** Writes what is new, and otherwise now and then that it was here. */
async function remember(
  { coordination, sightings }: Pick<OmahaOptions, "coordination" | "sightings">,
  uid: string,
  before: ForeignMachine | undefined,
  machine: ForeignMachine,
  noted: Sighting | undefined,
  now: number,
): Promise<void> {
  const isRecent = before !== undefined && now - before.lastSeen < LAST_SEEN;
  if (isRecent && before.history === machine.history) {
    // Who else is down changes with each look; that it waits for them does not.
    const bare = (of: ForeignMachine): string =>
      JSON.stringify({ ...of, lastSeen: 0, why: of.why?.reason, history: undefined });
    if (bare(before) === bare(machine)) return;
  }
  await coordination.putForeignMachine(uid, machine);
  sightings.written(uid, noted);
}
