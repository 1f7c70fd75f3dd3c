/**
 * Omaha v3 at `/v1/update`: events first, then the ping, then the check, for each app of a request. A refusal is
 * `noupdate`, never an error, and its reason is kept in the machine's record; where etcd gives no answer nothing is
 * offered, and what an event would have ended is found by the version at a later check.
 */
import type { Why } from "../../api/reasons.ts";
import { refuseGrant } from "../../coordination/admission.ts";
import type { Coordination, FleetSnapshot } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { ForeignMachine, Offer, Offered } from "../../coordination/records.ts";
import type { MachineCredentials } from "../../pki/machine-credentials.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { type EdgeAnswer, plain, type Route } from "../edge/server.ts";
import { uidOf } from "../slots/identity.ts";
import type { SlotLine } from "../slots/line.ts";
import type { RequestCounts } from "./counts.ts";
import { decideCheck, describe, endingOf, offerFor, stateOf } from "./policy.ts";
import { type OmahaApp, OmahaError, type OmahaRequest, parseRequest } from "./request.ts";
import { type AppAnswer, type OmahaUpdate, renderResponse } from "./response.ts";

const PREFIX = "/v1/update";
/** A request of update_engine has about 1 KiB. */
const MAX_BODY = 64 * 1024;
/** A machine that says nothing new is written down again after so long, ms: it asks each 45 min. */
const LAST_SEEN = 300_000;

export interface OmahaOptions {
  coordination: Pick<Coordination, "takeUpdate" | "endUpdate" | "readForeignMachine" | "putForeignMachine">;
  /** As it was read last. */
  fleet: () => Seen | undefined;
  /** What changes a group's counts, one at a time. */
  line: Pick<SlotLine, "alone">;
  credentials: MachineCredentials;
  /** Whether machines of the group need show nothing. */
  isOpen: (group: string) => boolean;
  clock: Clock;
  random: Pick<Random, "uuid">;
  log: Logger;
  /** `outcome`: `offered`, the reason of a refusal, or `ping`, `event`, `refused`. */
  meter: (outcome: string) => void;
  /** Requests over time, for those who look back. */
  counts?: Pick<RequestCounts, "saw">;
}

type Seen = Pick<FleetSnapshot, "offers" | "groupGates" | "budgetGates" | "budgets">;

/** `/v1/update`, `/v1/update/` and `/v1/update/SECRET`, as people write either into SERVER=. */
export function omahaRoute(options: OmahaOptions): Route {
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
      return await answerAll(options, parsed, secret);
    },
  };
}

async function answerAll(
  options: OmahaOptions,
  request: OmahaRequest,
  secret: string | undefined,
): Promise<EdgeAnswer> {
  const { clock, fleet, credentials, isOpen, meter } = options;
  const now = clock.now();
  const living = [...(fleet()?.offers.values() ?? [])].filter(({ validUntil }) => validUntil > now);
  const apps: AppAnswer[] = [];
  for (const app of request.apps) {
    const offer = offerFor(app, living);
    if (
      offer !== undefined &&
      !credentials.accepts(secret, offer.group, app.machineId) &&
      !isOpen(offer.group)
    ) {
      meter("refused");
      return plain(403, `The secret of group ${offer.group} is missing in the URL, or is another one.\n`);
    }
    if (offer !== undefined) options.counts?.saw(offer.group, app, now);
    const offered = await answerApp(options, app, offer, request.onDemand, now);
    apps.push({
      ...{ appId: app.sentId, ping: app.ping, events: app.events.length },
      check: app.check ? (offered ?? "noupdate") : undefined,
    });
  }
  return { status: 200, type: "text/xml; charset=utf-8", body: renderResponse({ apps }, now) };
}

/** What is offered; undefined for nothing. Never fails: a machine that gets an error would report one, and ask twice. */
async function answerApp(
  options: OmahaOptions,
  app: OmahaApp,
  offer: Offer | undefined,
  onDemand: boolean,
  now: number,
): Promise<OmahaUpdate | undefined> {
  const { coordination, log, meter } = options;
  if (app.machineId === "" || offer === undefined) {
    meter(offer === undefined ? "MachinesNotServed" : "refused");
    return undefined;
  }
  const uid = uidOf(app.machineId);
  try {
    const before = await coordination.readForeignMachine(uid);
    const machine = await settle(options, app, offer, uid, before, onDemand, now);
    if (!app.check) {
      meter(app.events.length > 0 ? "event" : "ping");
      await remember(coordination, uid, before, machine, now);
      return undefined;
    }
    const result = await check(options, app, offer, onDemand, uid, machine, before?.group ?? offer.group);
    if ("reason" in result) {
      meter(result.reason);
      await remember(coordination, uid, before, { ...machine, why: result }, now);
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

/** What its events, its version and its boot say of the update that it has. */
async function settle(
  { coordination, line, log }: OmahaOptions,
  app: OmahaApp,
  offer: Offer,
  uid: string,
  before: ForeignMachine | undefined,
  onDemand: boolean,
  now: number,
): Promise<ForeignMachine> {
  const machine = describe(app, offer.group, before, now, onDemand);
  const { update } = machine;
  if (update === undefined || before === undefined) return machine;
  const ending = endingOf(app, machine);
  if (ending === undefined) {
    const state = stateOf(app);
    return state === undefined ? machine : { ...machine, update: { ...update, state } };
  }
  // In the group that gave the slot: a machine may have moved since.
  await line.alone(before.group, () =>
    coordination.endUpdate({ uid, group: before.group, machine, ...ending }),
  );
  const { release } = update;
  log.info("the update of a machine ended", {
    machine: app.machineId,
    group: before.group,
    release,
    ...ending,
  });
  return (await coordination.readForeignMachine(uid)) ?? { ...machine, update: undefined };
}

async function check(
  { coordination, line, fleet, clock, random, log }: OmahaOptions,
  app: OmahaApp,
  offer: Offer,
  onDemand: boolean,
  uid: string,
  machine: ForeignMachine,
  heldIn: string,
): Promise<OmahaUpdate | Why> {
  const decided = decideCheck(app, uid, machine, offer, onDemand);
  const { update } = machine;
  const wanted = "reason" in decided ? undefined : decided.offered.release;
  if (update !== undefined && update.release !== wanted) {
    // It asks, so it does not reboot into what it was offered before.
    const withdrawn = { uid, group: heldIn, machine, how: "withdrawn", code: 0 } as const;
    await line.alone(heldIn, () => coordination.endUpdate(withdrawn));
  }
  if ("reason" in decided) return decided;
  const { offered } = decided;
  // A machine in a fleet that waits would otherwise cost etcd as much as one that updates.
  const shut = update === undefined ? refusedBy(fleet(), uid, offer, offered, clock.now()) : undefined;
  if (shut !== undefined) return shut;
  const result = await line.alone(offer.group, () =>
    coordination.takeUpdate({
      ...{ uid, name: app.machineId, group: offer.group, nonce: random.uuid() },
      ...{ release: offered.release, version: offered.version, threshold: offer.threshold, machine },
      ...(offer.resumedAt === undefined ? {} : { resumedAt: offer.resumedAt }),
      ...(offer.rate === undefined || onDemand ? {} : { rate: offer.rate }),
    }),
  );
  if (result.outcome === "refused") return result.why;
  if (result.outcome === "granted") {
    log.info("a machine was offered a release", {
      machine: app.machineId,
      group: offer.group,
      release: offered.release,
    });
  }
  const [first = "", ...others] = offered.codebases;
  const { version, payload, extras } = offered;
  return { version, codebases: [first, ...others], payload, extras };
}

/** What the gates and budgets forbid by the last look; etcd is not asked, and has the last word on what they allow. */
function refusedBy(
  seen: Seen | undefined,
  uid: string,
  { group }: Offer,
  { release }: Offered,
  now: number,
): Why | undefined {
  const gate = seen?.groupGates.get(group);
  if (seen === undefined || gate?.machines === undefined) return undefined;
  const budgets = gate.machines.budgets.map((budget) => ({
    budget,
    gate: seen.budgetGates.get(budget),
    holders: new Set(seen.budgets.get(budget)?.holders.keys()),
  }));
  return refuseGrant({ uid, group, release, gate, budgets, needs: gate.machines.needs }, now);
}

/** Writes what is new, and otherwise now and then that it was here. */
async function remember(
  coordination: OmahaOptions["coordination"],
  uid: string,
  before: ForeignMachine | undefined,
  machine: ForeignMachine,
  now: number,
): Promise<void> {
  // Who else is down changes with each look; that it waits for them does not.
  const bare = (of: ForeignMachine): string => JSON.stringify({ ...of, lastSeen: 0, why: of.why?.reason });
  if (before !== undefined && now - before.lastSeen < LAST_SEEN && bare(before) === bare(machine)) return;
  await coordination.putForeignMachine(uid, machine);
}
