/**
 * The layout of etcd. Node identity `uid` is the Node's UID, or the machine id of a
 * plain machine. Only these functions make keys.
 */
export const PREFIX = "/slipway/";

/**
 * What machines without our agent write, which may be 100,000 of them, and what is counted of all: nothing here tells
 * managers and gateways to look at the fleet again.
 */
export const MACHINES_PREFIX = "/slipway-machines/";

/** A part of a key: slashes inside names (budgets have them) are escaped. */
function part(text: string): string {
  return encodeURIComponent(text);
}

export const keys = {
  /** Identity of this etcd's data: made once, replaced after a loss or a restored snapshot. */
  incarnation: `${PREFIX}incarnation`,
  /** Epoch of the leading manager: raised by each new leader. */
  epoch: `${PREFIX}epoch`,
  /** Written with each renewal of the gates, by leaders only: its mod revision tells how far a leader had come. */
  pulse: `${PREFIX}pulse`,
  gates: `${PREFIX}gates/`,
  groupGate: (group: string): string => `${PREFIX}gates/groups/${part(group)}`,
  budgetGate: (budget: string): string => `${PREFIX}gates/budgets/${part(budget)}`,
  budgets: `${PREFIX}budgets/`,
  budgetSeq: (budget: string): string => `${PREFIX}budgets/${part(budget)}/seq`,
  holders: (budget: string): string => `${PREFIX}budgets/${part(budget)}/holders/`,
  holder: (budget: string, uid: string): string => `${PREFIX}budgets/${part(budget)}/holders/${part(uid)}`,
  grants: `${PREFIX}grants/`,
  grant: (uid: string): string => `${PREFIX}grants/${part(uid)}`,
  phases: `${PREFIX}phases/`,
  phase: (uid: string): string => `${PREFIX}phases/${part(uid)}`,
  desired: `${PREFIX}desired/`,
  desiredOf: (uid: string): string => `${PREFIX}desired/${part(uid)}`,
  observed: `${PREFIX}observed/`,
  observedOf: (uid: string): string => `${PREFIX}observed/${part(uid)}`,
  sessions: `${PREFIX}sessions/`,
  session: (uid: string): string => `${PREFIX}sessions/${part(uid)}`,
  presence: `${PREFIX}presence/`,
  presenceOf: (uid: string): string => `${PREFIX}presence/${part(uid)}`,
  joins: `${PREFIX}joins/`,
  join: (tokenHash: string): string => `${PREFIX}joins/${part(tokenHash)}`,
  machines: `${PREFIX}machines/`,
  machine: (machineId: string): string => `${PREFIX}machines/${part(machineId)}`,
  journal: `${PREFIX}journal/`,
  samples: `${MACHINES_PREFIX}samples/`,
  /** How a release goes on a group's machines without our agent. */
  tally: (group: string, release: string): string => `${PREFIX}tallies/${part(group)}/${part(release)}`,
  tallies: `${PREFIX}tallies/`,
  /** The same machine under another id, while its grant lives: nobody takes a second slot by it. */
  alias: (uid: string): string => `${PREFIX}aliases/${part(uid)}`,
  aliases: `${PREFIX}aliases/`,
  /** A Node whose own client asks for its reboot. */
  request: (uid: string): string => `${PREFIX}requests/${part(uid)}`,
  requests: `${PREFIX}requests/`,
  /** Whose an id is, as the manager knows it: that of one of our agents, or of a Node. */
  identity: (id: string): string => `${PREFIX}identities/${part(id)}`,
  identities: `${PREFIX}identities/`,
  offers: `${PREFIX}gates/offers/`,
  offer: (group: string): string => `${PREFIX}gates/offers/${part(group)}`,
  foreignMachines: `${MACHINES_PREFIX}known/`,
  foreignMachine: (uid: string): string => `${MACHINES_PREFIX}known/${part(uid)}`,
  /** The machine id of a machine without our agent, by what Zincati makes of it. */
  seenAs: (id: string): string => `${MACHINES_PREFIX}ids/${part(id)}`,
  machineTotals: `${MACHINES_PREFIX}totals/`,
  machineTotalsOf: (group: string): string => `${MACHINES_PREFIX}totals/${part(group)}`,
  allTickets: `${MACHINES_PREFIX}tickets/`,
  tickets: (group: string): string => `${MACHINES_PREFIX}tickets/${part(group)}/`,
  ticket: (group: string, uid: string): string => `${MACHINES_PREFIX}tickets/${part(group)}/${part(uid)}`,
} as const;

/** The last part of a key, unescaped: the uid of grants/, phases/, observed/, holders. */
export function lastPart(key: string): string {
  return decodeURIComponent(key.slice(key.lastIndexOf("/") + 1));
}

export function groupOfTicket(key: string): string {
  const [group = ""] = key.slice(keys.allTickets.length).split("/");
  return decodeURIComponent(group);
}
