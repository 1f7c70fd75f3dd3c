/** What is right and wrong with an installation. Each check gives at least one line. */
import { GROUP, timestamp } from "../../api/meta.ts";
import { leaderOf } from "../explain/subject.ts";
import { clause, count, names, span, when } from "../explain/words.ts";
import { checkCertificates } from "./certificates.ts";
import { checkCrds } from "./crds.ts";
import type { DoctorFacts, Event } from "./facts.ts";
import { fail, type Level, type Line, ok, unread, warn } from "./line.ts";
import { checkInfrastructure, checkPods } from "./pods.ts";
import { checkRivals } from "./rivals.ts";

/** `now`: wall clock, ms. */
export function examine(facts: DoctorFacts, now: number): Line[] {
  return [
    ...checkCrds(facts),
    ...checkLeader(facts, now),
    ...checkPods(facts),
    ...checkEtcd(facts, now),
    ...checkAgents(facts),
    ...checkDeclared(facts),
    ...checkInfrastructure(facts),
    ...checkCertificates(facts, now),
    ...checkRivals(facts),
  ];
}

function checkLeader({ lease, namespace }: DoctorFacts, now: number): Line[] {
  const check = "leader";
  if (typeof lease === "string") return [unread(check, lease)];
  const { state, holder, since } = leaderOf({ lease: lease[0] ?? "missing" }, now);
  const logs = `kubectl -n ${namespace} logs -l app.kubernetes.io/component=manager --tail=50`;
  if (state === "leads") return [ok(check, `manager ${holder} leads, since ${when(since ?? now, now)}`)];
  if (state === "never") {
    return [
      fail(
        check,
        `no manager has ever led in namespace ${namespace}`,
        `look whether its Pods run and reach etcd: \`${logs}\`; another namespace is named by -n`,
      ),
    ];
  }
  return [
    fail(
      check,
      `no manager leads: the Lease was renewed last ${since === undefined ? "never" : when(since, now)}`,
      `nothing new begins until one does: \`${logs}\``,
    ),
  ];
}

/** On the leader Lease, by the manager: which data etcd has. */
const INCARNATION = `${GROUP}/etcd-incarnation`;

/** So long what a manager said of etcd is repeated, ms. */
const NEWS = 10 * 60_000;

function checkEtcd(facts: DoctorFacts, now: number): Line[] {
  const { etcdEvents, lease } = facts;
  const todo = "check the manager's --etcd endpoints and certificates, and etcd's own health";
  const leader = leaderOf({ lease: typeof lease === "string" ? "unreadable" : (lease[0] ?? "missing") }, now);
  // Without etcd nobody begins to lead, though whoever leads goes on: what was said before is over.
  const over = leader.state === "leads" && leader.since !== undefined ? Date.parse(leader.since) : 0;
  const said =
    typeof etcdEvents === "string"
      ? []
      : etcdEvents.filter((event) => saidAt(event) > Math.max(now - NEWS, over));
  const latest = said.toSorted((a, b) => saidAt(b) - saidAt(a))[0];
  const lines = etcdData(facts, todo);
  if (latest === undefined) return lines;
  const { note = "", reportingInstance = "" } = latest;
  const since = when(timestamp(saidAt(latest)), now);
  const found = `manager ${reportingInstance} said at ${since}: ${clause(note)}`;
  return [...lines, warn("etcd", found, todo)];
}

/** The last time, ms. */
function saidAt({ eventTime = "", series }: Event): number {
  return Date.parse(series?.lastObservedTime ?? eventTime);
}

function etcdData({ lease, nodeUpdates }: DoctorFacts, todo: string): Line[] {
  const check = "etcd";
  if (typeof lease === "string") return [];
  const incarnation = lease[0]?.metadata.annotations?.[INCARNATION];
  if (incarnation === undefined) return [fail(check, "no manager has ever read or written etcd", todo)];
  if (typeof nodeUpdates === "string") return [unread(check, nodeUpdates)];
  const waiting = nodeUpdates.filter(({ status }) =>
    ["EtcdUnavailable", "WaitingForGates"].includes(status?.reason ?? ""),
  );
  if (waiting.length > 0) {
    const who = names(waiting.map(({ metadata }) => metadata.name));
    return [
      fail(
        check,
        `${who} can't be given a slot, because etcd gave no clear answer or the gates are too old`,
        todo,
      ),
    ];
  }
  return [ok(check, `its data is ${incarnation}, and no node waits for it`)];
}

function checkAgents({ nodeUpdates, nodes, namespace }: DoctorFacts): Line[] {
  const check = "agents";
  if (typeof nodeUpdates === "string") return [unread(check, nodeUpdates)];
  if (typeof nodes === "string") return [unread(check, nodes)];
  if (nodeUpdates.length === 0) {
    return [warn(check, "no group has taken up a node yet", "declare an UpdateGroup that selects Nodes")];
  }
  const lines: Line[] = [];
  const silent = nodeUpdates.filter(({ status }) => status?.running === undefined);
  const away = nodeUpdates.filter(({ status }) => status?.running !== undefined && status.connected !== true);
  const todo = `kubectl -n ${namespace} get pods -l app.kubernetes.io/component=agent -o wide; then \`kubectl slipway why NODE\``;
  if (silent.length > 0) {
    const level = silent.length === nodeUpdates.length ? fail : warn;
    lines.push(
      level(
        check,
        `no agent has reported yet from ${names(
          silent.map(({ metadata }) => metadata.name),
          5,
        )}`,
        todo,
      ),
    );
  }
  if (away.length > 0) {
    const level = away.length === nodeUpdates.length ? fail : warn;
    lines.push(
      level(
        check,
        `the agent is away on ${names(
          away.map(({ metadata }) => metadata.name),
          5,
        )}`,
        todo,
      ),
    );
  }
  if (lines.length === 0)
    lines.push(ok(check, `the agents of ${count(nodeUpdates.length, "node")} are connected`));
  const taken = new Set(nodeUpdates.map(({ spec }) => spec.nodeName));
  const alone = nodes
    .filter(({ metadata }) => !taken.has(metadata.name))
    .map(({ metadata }) => metadata.name);
  if (alone.length > 0) {
    lines.push(
      warn(
        "groups",
        `no group acts on ${names(alone, 5)}`,
        "`kubectl slipway why NODE` says why; that may be as you want it",
      ),
    );
  }
  return lines;
}

function checkDeclared({ declared }: DoctorFacts): Line[] {
  if (typeof declared === "string") return [unread("declared", declared)];
  const lines = declared.flatMap(({ kind, metadata, status }): Line[] => {
    const check = kind.toLowerCase();
    const condition = (type: string) => status?.conditions?.find((each) => each.type === type);
    const what = `${kind} ${metadata.name}`;
    const accepted = condition("Accepted");
    const found: Line[] = [];
    if (accepted?.status === "False") {
      found.push(
        fail(
          check,
          `${what} is not accepted: ${accepted.message}`,
          `correct it: \`kubectl edit ${check} ${metadata.name}\``,
        ),
      );
    }
    const conflict = condition("Conflict");
    if (conflict?.status === "True")
      found.push(
        fail(
          check,
          `${what}: ${conflict.message}`,
          `narrow one selector: \`kubectl edit ${check} ${metadata.name}\``,
        ),
      );
    const halted = condition("Halted");
    if (halted?.status === "True")
      found.push(
        warn(
          check,
          `${what} stopped itself: ${halted.message}`,
          `kubectl slipway rollout status ${metadata.name}`,
        ),
      );
    return found;
  });
  return lines.length > 0
    ? lines
    : [ok("declared", `${count(declared.length, "object")} of Slipway's kinds, each accepted`)];
}

export function text(lines: readonly Line[]): string {
  return lines
    .map(
      ({ level, check, found, todo }) =>
        `${level.padEnd(4)}  ${check.padEnd(14)}  ${found}.\n${todo === undefined ? "" : `${" ".repeat(22)}-> ${todo}\n`}`,
    )
    .join("");
}

export function summary(lines: readonly Line[], took: number): string {
  const of = (level: Level): number => lines.filter((line) => line.level === level).length;
  return `${of("ok")} ok, ${of("warn")} to look at, ${of("fail")} wrong${took < 1000 ? "" : ` (after ${span(took)})`}\n`;
}
