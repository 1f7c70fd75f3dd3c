/**
 * What a machine that speaks Omaha is told: what its events end, and which release it is offered, or why none. Pure: it
 * says what is asked of etcd, whose transaction has the last word on gates, budgets, rate and evidence.
 */
import { expandCodebase } from "../../api/codebase.ts";
import { shareOf } from "../../api/cohort.ts";
import type { Why } from "../../api/reasons.ts";
import { compareVersions } from "../../api/version.ts";
import { refuseFailed } from "../../coordination/admission.ts";
import { bootsWith, isShared } from "../../coordination/machine-boots.ts";
import { type History, historyWith } from "../../coordination/machine-history.ts";
import { type ForeignMachine, isStaged, type Offer, type Offered } from "../../coordination/records.ts";
import { codeOf, type Meaning, meaningOf } from "./event.ts";
import type { OmahaApp } from "./request.ts";

/** Offers of one release that may end in an error of the way (a mirror, the disk) before it counts as failed. */
const ATTEMPTS = 3;
/** update_engine's own code for "booted into the version from before" (error_code.h: kErrorCodeRollback). */
const ROLLED_BACK = 44;
/** By what a board begins with: the vendors' are `amd64-usr` and `arm64-usr`, and builds of one's own are named alike. */
const ARCHITECTURES: ReadonlyMap<string, string> = new Map(
  Object.entries({ amd64: "amd64", x86_64: "amd64", arm64: "arm64", aarch64: "arm64" }),
);
/** What is compared of the version that runs. A Release has no other; of what else a machine says its leading numbers count. */
const RUNNING = /^\d+(\.\d+){0,3}(-[0-9A-Za-z.-]+)?/;

/** What a machine says of itself, on top of what is known of it. */
export function describe(
  app: OmahaApp,
  group: string,
  before: ForeignMachine | undefined,
  now: number,
  onDemand = false,
): ForeignMachine {
  const history = historyWith(before?.history ?? [], toldBy(app, onDemand, now));
  return {
    ...{
      id: app.machineId,
      group,
      product: app.id,
      version: app.version,
      track: app.track,
      board: app.board,
    },
    ...{
      oem: app.oem,
      alias: app.alias,
      bootId: app.bootId,
      ...bootsWith(before, app.bootId, now),
      firstSeen: before?.firstSeen ?? now,
      lastSeen: now,
    },
    ...{ failed: before?.failed ?? [], tried: before?.tried, update: before?.update, why: before?.why },
    ...(history.length === 0 ? {} : { history }),
  };
}

/** What its events tell of its update, newest first. */
export function toldBy(app: OmahaApp, onDemand: boolean, now: number): History {
  return app.events
    .filter((event) => meaningOf(event).is !== "idle")
    .map(({ type, result, errorCode }) => ({
      ...{ at: now, type, result, code: codeOf(errorCode), version: app.version, onDemand },
    }))
    .toReversed();
}

/** Whether a machine says nothing of itself that its record does not know. */
export function isAsKnown(app: OmahaApp, group: string, known: ForeignMachine): boolean {
  return (
    known.bootId === app.bootId &&
    known.version === app.version &&
    known.group === group &&
    known.product === app.id &&
    known.track === app.track &&
    known.board === app.board &&
    known.oem === app.oem &&
    known.alias === app.alias
  );
}

type Ending = { how: "good" | "failed" | "withdrawn"; code: number };

/** How the machine's update ends by what it says now; undefined where it goes on, or there is none. */
export function endingOf(
  app: OmahaApp,
  machine: Pick<ForeignMachine, "update" | "sharedAt">,
  now: number,
): Ending | undefined {
  const { update } = machine;
  if (update === undefined) return undefined;
  const runs = app.version === update.version;
  // In the boot in which it was offered it was not booted: what is said of a boot is of an update before it, by a
  // request that was sent again because its answer was lost.
  const sameBoot = app.bootId !== "" && app.bootId === update.bootId;
  const meanings = app.events
    .map(meaningOf)
    .filter(({ is }) => !sameBoot || (is !== "rolledBack" && (is !== "completed" || runs)));
  const failure = meanings.find((meaning) => meaning.is === "failed" || meaning.is === "rolledBack");
  if (failure?.is === "rolledBack") return { how: "failed", code: ROLLED_BACK };
  if (failure?.is === "failed") {
    return { how: update.attempt >= ATTEMPTS ? "failed" : "withdrawn", code: failure.code };
  }
  if (meanings.some(({ is }) => is === "completed")) {
    return runs ? { how: "good", code: 0 } : { how: "failed", code: ROLLED_BACK };
  }
  // What follows is of which machine, nobody can say. What it holds a slot for may still reboot.
  if (isShared(machine, now)) return undefined;
  // The event of a completion is sent once, and may have been lost.
  if (runs) return { how: "good", code: 0 };
  const rebooted = app.bootId !== "" && !sameBoot;
  if (!rebooted || !app.check) return undefined;
  return isStaged(update) ? { how: "failed", code: ROLLED_BACK } : { how: "withdrawn", code: 0 };
}

/** Whether there is no update that it could speak of: with each ordinary check comes an event that says so. */
export function isIdle(app: OmahaApp, { update }: Pick<ForeignMachine, "update">): boolean {
  return update === undefined && app.events.every((event) => meaningOf(event).is === "idle");
}

/**
 * Whether its events say only that its update goes on: what is downloaded decides nothing, while what is staged, and
 * that it is so no more, tells a fall back from a reboot of its own.
 */
export function isProgress(
  app: OmahaApp,
  known: Pick<ForeignMachine, "update" | "sharedAt">,
  now: number,
): boolean {
  return (
    !app.check &&
    known.update !== undefined &&
    !isStaged(known.update) &&
    app.events.length > 0 &&
    app.events.every((event) => ["downloading", "downloaded"].includes(meaningOf(event).is)) &&
    endingOf(app, known, now) === undefined
  );
}

/** How far the update has come, by the last event that says so. */
export function stateOf(app: OmahaApp): NonNullable<ForeignMachine["update"]>["state"] | undefined {
  const states: Partial<Record<Meaning["is"], NonNullable<ForeignMachine["update"]>["state"]>> = {
    ...{ downloading: "Downloading", downloaded: "Downloaded", staged: "Staged", held: "Held" },
  };
  return app.events.map((event) => states[meaningOf(event).is]).findLast((state) => state !== undefined);
}

/**
 * The release that the machine may be offered next. `onDemand`: a person asked on the machine, so that its stage is
 * not waited for. An older version is offered only where the group says so, and then at once: stepping stones lead up.
 * `gateway`: the base of the URLs that we are reached by.
 */
export function decideCheck(
  app: OmahaApp,
  uid: string,
  machine: Pick<ForeignMachine, "failed">,
  offer: Offer,
  onDemand: boolean,
  gateway: string | undefined,
): { offered: Offered } | Why {
  const architecture = architectureOf(app);
  if (architecture === undefined) {
    return {
      reason: "NoPayload",
      message: `Its board is ${JSON.stringify(app.board)}; there are payloads for amd64 and arm64 alone.`,
    };
  }
  const way = offer.ways[architecture];
  const target = way?.at(-1);
  if (way === undefined || target === undefined) {
    return { reason: "NoPayload", message: `There is no payload for ${architecture}.` };
  }
  const running = RUNNING.exec(app.version)?.[0] ?? "0";
  const order = app.version === target.version ? 0 : compareVersions(running, target.version);
  if (order === 0 || (order > 0 && offer.downgrade !== true)) {
    const older = order === 0 ? "" : ", which is older: spec.machines.downgrade would let it go back";
    return {
      reason: "UpToDate",
      message: `It runs ${app.version}; the target is ${target.version}${older}.`,
    };
  }
  if (offer.excludedOEMs?.includes(app.oem) === true) {
    return {
      reason: "OEMExcluded",
      message: `Its OEM is ${app.oem}, which spec.machines.excludedOEMs of UpdateGroup ${offer.group} names.`,
    };
  }
  const next = order > 0 ? target : nextOf(running, way);
  if ("reason" in next) return next;
  const failed = refuseFailed(machine, next.release, offer.retriedAt);
  if (failed !== undefined) return failed;
  if (!onDemand && offer.share < 1 && shareOf(uid, target.version) >= offer.share) {
    return {
      reason: "WaitingForStage",
      message: `The open stages let in ${Math.round(offer.share * 100)} % of the machines, and not yet this one.`,
    };
  }
  const { release, version } = next;
  const place = { gateway, version, architecture, name: release };
  const codebases = next.codebases.flatMap((codebase) => expandCodebase(codebase, place) ?? []);
  if (codebases.length === 0) {
    return {
      reason: "NoPayload",
      message: `Release ${release} lies at the gateway, which was not told its own URL (--public-url).`,
    };
  }
  return { offered: { ...next, codebases } };
}

/** `why` as it goes into the record of a machine that was refused for `before` at the check before this one. */
export function sinceWhen(why: Why, before: ForeignMachine["why"], now: number): ForeignMachine["why"] {
  return { ...why, since: before?.reason === why.reason ? before.since : now };
}

/** Why the machine is offered nothing whatever there is: two machines would go down in one place. */
export function refuseShared(machine: Pick<ForeignMachine, "id" | "sharedAt">, now: number): Why | undefined {
  if (!isShared(machine, now)) return undefined;
  return {
    reason: "DuplicateMachineId",
    message: `Several machines call themselves ${machine.id}: a boot came back that another had replaced.`,
  };
}

/**
 * The next release that a server which follows us is told of: the same way as a machine's, without its stages and
 * OEMs, since it has stages and OEMs of its own.
 */
export function decideFollower(
  app: OmahaApp,
  offer: Offer,
  gateway: string | undefined,
): { offered: Offered; last: boolean } | Why {
  const decided = decideCheck({ ...app, oem: "" }, "", { failed: [] }, offer, true, gateway);
  if ("reason" in decided) return decided;
  const target = offer.ways[architectureOf(app) ?? ""]?.at(-1);
  return { ...decided, last: decided.offered.release === target?.release };
}

/** Fake fleets, PXE's stub and clients of before there was arm64 name no board. undefined: one that no payload is for. */
function architectureOf({ board }: Pick<OmahaApp, "board">): string | undefined {
  return board === "" ? "amd64" : ARCHITECTURES.get(board.split("-", 1)[0] ?? "");
}

/** Each later step must be allowed too: a machine is not sent half of a way. */
function nextOf(running: string, way: readonly Offered[]): Offered | Why {
  let from = running;
  let next: Offered | undefined;
  for (const step of way) {
    if (compareVersions(step.version, running) <= 0) continue;
    if (step.updatesFrom !== undefined && compareVersions(from, step.updatesFrom) < 0) {
      return {
        reason: "UpdateNotReachable",
        message: `Release ${step.release} updates from ${step.updatesFrom} on; the way from ${running} comes to it with ${from}.`,
      };
    }
    next ??= step;
    from = step.version;
  }
  return next ?? { reason: "UpToDate", message: `Nothing is newer than ${running}.` };
}
