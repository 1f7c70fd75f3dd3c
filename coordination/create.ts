/** Puts the parts of this room together. */
import { Changes } from "./changes.ts";
import { commit, reportReturn, withdraw } from "./commit.ts";
import type { Coordination } from "./coordination.ts";
import { DayLease } from "./day-lease.ts";
import { forgetNode, putDesired } from "./desired.ts";
import { raiseEpoch, readEpoch } from "./epoch.ts";
import { readFleet, readNode } from "./fleet.ts";
import { readForeign, readWaiting, takeForeign } from "./foreign.ts";
import { forgetBudget, writeGates } from "./gates.ts";
import { freeForeign } from "./give-back.ts";
import { free, markDrained, release, revoke, takeGrant } from "./grants.ts";
import { compact } from "./history.ts";
import { identify, putIdentities, readIdentities } from "./identities.ts";
import {
  forgetMachine,
  moveMachine,
  putJoinToken,
  readMachine,
  readMachines,
  restoreMachines,
  spendJoinToken,
} from "./joins.ts";
import { Journal } from "./journal.ts";
import { KeyReads } from "./key-reads.ts";
import { keys, PREFIX } from "./keys.ts";
import { putMachineTotals } from "./machine-totals.ts";
import { Parser } from "./parse.ts";
import { rebuild } from "./rebuild.ts";
import { endReboot, requestReboot } from "./requests.ts";
import { guardRewind } from "./rewind.ts";
import { Samples } from "./samples.ts";
import { closeSession, openSession, putObserved } from "./sessions.ts";
import type { Ports } from "./transact.ts";
import {
  endUpdate,
  forgiveMachine,
  putForeignMachine,
  putSightings,
  readForeignMachine,
  takeUpdate,
} from "./updates.ts";

/** Days after which a machine without our agent that asks no more is forgotten: half a year, as Nebraska counts its dead. */
const FORGET_MACHINES = 180;

/**
 * Slipway's use of etcd over the given ports; closing `etcd` is the caller's. Where etcd was
 * restored from a snapshot everything but reading and raising the epoch, and rebuilding,
 * throws `EtcdRewound`: a leader then gives up its Lease and starts over.
 */
export function createCoordination(unguarded: Ports): Coordination {
  const ports: Ports = { ...unguarded, etcd: guardRewind(unguarded.etcd) };
  const parser = new Parser(ports.log);
  const changes = new Changes(ports.etcd);
  const reads = new KeyReads(ports.etcd);
  const journal = new Journal(ports, parser);
  const samples = new Samples(ports, parser);
  const leases = new DayLease(ports, FORGET_MACHINES);
  return {
    readFleet: () => readFleet(ports, parser),
    watchFleet: (hint) => ports.etcd.watch(PREFIX, hint),
    readEpoch: () => readEpoch(unguarded, parser),
    raiseEpoch: (from, first) => raiseEpoch(unguarded, parser, from, first),
    rebuild: (from, grants) => rebuild(unguarded, parser, from, grants),
    writeGates: (leader, gates) => writeGates(ports, parser, leader, gates),
    putDesired: (leader, uid, desired) => putDesired(ports, parser, leader, uid, desired),
    compact: (leader, revision) => compact(ports, parser, leader, revision),
    forgetBudget: (leader, budget) => forgetBudget(ports, parser, leader, budget),
    forgetNode: (leader, uid) => forgetNode(ports, parser, leader, uid),
    takeGrant: (leader, request) => takeGrant(ports, parser, leader, request),
    markDrained: (leader, uid, token) => markDrained(ports, parser, leader, uid, token),
    revoke: (leader, uid, token, why) => revoke(ports, parser, leader, uid, token, why),
    release: (leader, uid, token) => release(ports, parser, leader, uid, token),
    free: (leader, uid, token, cause) => free(ports, parser, leader, uid, token, cause),
    openSession: (uid, gateway, lease) => openSession(ports, parser, uid, gateway, lease),
    closeSession: (uid, session) => closeSession(ports, uid, session),
    putObserved: (uid, session, observed) => putObserved(ports, parser, uid, session, observed),
    commit: (uid, session, token, boot) => commit(ports, parser, uid, session, token, boot),
    withdraw: (uid, session, token, why) => withdraw(ports, parser, uid, session, token, why),
    reportReturn: (uid, session, token, boot, verdict, why) =>
      reportReturn(ports, parser, uid, session, token, boot, verdict, why),
    readNode: (uid) => readNode(ports, parser, uid),
    spendJoinToken: (tokenHash, machineId) => spendJoinToken(ports, parser, tokenHash, machineId),
    putJoinToken: (tokenHash, record) => putJoinToken(ports, tokenHash, record),
    readMachines: () => readMachines(ports, parser),
    readMachine: (machineId) => readMachine(ports, parser, machineId),
    forgetMachine: (machineId, why) => forgetMachine(ports, parser, journal, machineId, why),
    moveMachine: (machineId, group) => moveMachine(ports, parser, machineId, group),
    restoreMachines: (leader, machines) => restoreMachines(ports, parser, leader, machines),
    takeForeign: (ask) => takeForeign(ports, parser, changes, ask),
    freeForeign: (uid, group, protocol) => freeForeign(ports, parser, changes, uid, group, protocol),
    takeUpdate: (ask) => takeUpdate(ports, parser, changes, leases, ask),
    endUpdate: (end) => endUpdate(ports, parser, changes, leases, end),
    readForeignMachine: (uid) => readForeignMachine(reads, parser, uid),
    forgiveMachine: (uid) => forgiveMachine(ports, parser, leases, uid),
    putForeignMachine: (uid, machine) => putForeignMachine(parser, changes, leases, uid, machine),
    putSightings: (sightings) => putSightings(ports, parser, leases, sightings),
    identify: (id) => identify(ports, parser, id),
    readIdentities: () => readIdentities(ports, parser),
    putIdentities: (leader, changes) => putIdentities(ports, parser, leader, changes),
    requestReboot: (ask) => requestReboot(ports, parser, ask),
    endReboot: (uid, group, protocol, agent) => endReboot(ports, parser, uid, group, protocol, agent),
    putMachineTotals: (totals) => putMachineTotals(ports, parser, totals),
    watchBudgets: (hint) => ports.etcd.watch(keys.budgets, hint),
    readForeign: (group) => readForeign(ports, parser, group),
    readWaiting: () => readWaiting(ports, parser),
    append: (entry) => journal.append(entry),
    readJournal: (since) => journal.read(since),
    putSample: (sample) => samples.put(sample),
    readSamples: (since) => samples.read(since),
  };
}
