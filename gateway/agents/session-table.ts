/** The sessions of one gateway: at most one per node, each told what the fleet view reads. */
import type { Coordination } from "../../coordination/coordination.ts";
import { isAgents } from "../../coordination/fleet.ts";
import { isWhole } from "../../coordination/records.ts";
import type { FleetRead } from "../fleet-view.ts";
import type { Identity } from "./authenticate.ts";
import type { EndReason } from "./go-away.ts";
import { AgentSession, type SessionOptions } from "./session.ts";
import { KeyedBuckets } from "./token-bucket.ts";

/** Identities whose use is remembered: more than have sessions. */
export const MAX_IDENTITIES = 16_384;

/** The options of a session that its table supplies. */
export type TableOptions = Omit<SessionOptions, "identity" | "send" | "end" | "opened" | "reports"> & {
  coordination: Pick<Coordination, "closeSession">;
  /** Asks for a new read of the fleet; gives the number of the first read that starts after the call. */
  refresh: () => number;
};

interface Entry {
  session: AgentSession;
  /** Number of the first read that may be shown to it. */
  from: number;
}

export class SessionTable {
  readonly #options: TableOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #reports: KeyedBuckets;
  /** The last one that had all holders. */
  #incarnation: string | undefined;
  #whole = true;

  constructor(options: TableOptions) {
    this.#options = options;
    const { observedBytesPerSecond: perSecond, observedByteBurst: burst } = options.limits;
    this.#reports = new KeyedBuckets(options.clock, { perSecond, burst }, MAX_IDENTITIES);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Sessions by the version that their agents told. */
  versions(): Map<string, number> {
    const versions = new Map<string, number>();
    for (const { session } of this.#entries.values()) {
      if (session.open) versions.set(session.agentVersion, (versions.get(session.agentVersion) ?? 0) + 1);
    }
    return versions;
  }

  /**
   * The lease for presence; undefined where no session can be had, because there is none, or
   * because etcd's holders are lost or being rebuilt: an agent that hears of no grant then
   * would forget the verdict that it owes.
   */
  get lease(): string | undefined {
    return this.#whole ? this.#options.lease() : undefined;
  }

  /** A new stream of `identity`; an older one of the same node ends. */
  connect(identity: Identity, stream: Pick<SessionOptions, "send" | "end">): AgentSession {
    this.#entries.get(identity.uid)?.session.end("NewerSession");
    const entry: Entry = {
      from: Infinity,
      session: new AgentSession({
        ...this.#options,
        lease: () => this.lease,
        identity,
        reports: this.#reports,
        send: stream.send,
        end: (reason) => {
          this.#forget(entry);
          stream.end(reason);
        },
        opened: () => {
          entry.from = this.#options.refresh();
        },
      }),
    };
    this.#entries.set(identity.uid, entry);
    return entry.session;
  }

  /** The stream of `session` is gone. */
  disconnected(session: AgentSession): void {
    session.closed();
    const entry = this.#entries.get(session.identity.uid);
    if (entry?.session === session) this.#forget(entry);
  }

  /** Hands each session its records, and ends the presence of agents that have none here. */
  apply(read: FleetRead): void {
    const { fleet } = read;
    this.#whole = isWhole(fleet.incarnation);
    if (!this.#whole) {
      this.endAll("EtcdUnavailable");
      return;
    }
    const known = this.#incarnation;
    this.#incarnation = fleet.incarnation;
    if (known !== undefined && known !== fleet.incarnation) {
      // What agents reported may be lost or outdated: in a new session each tells all of it again.
      this.endAll("PresenceLost");
      return;
    }
    for (const [uid, entry] of this.#entries) {
      if (read.number < entry.from) continue;
      const live = fleet.grants.get(uid);
      entry.session.update({
        desired: fleet.desired.get(uid),
        grant: isAgents(live) ? live : undefined,
        newest: fleet.sessions.get(uid)?.session,
      });
    }
    this.#sweep(fleet);
  }

  /** Ends every session, with a GoAway. */
  endAll(reason: EndReason): void {
    for (const { session } of this.#entries.values()) session.end(reason);
  }

  /** Presence that hangs on our lease though its stream is gone: a close that got no answer. */
  #sweep(fleet: FleetRead["fleet"]): void {
    for (const uid of fleet.present) {
      const record = fleet.sessions.get(uid);
      if (record === undefined || record.gateway !== this.#options.gateway || this.#entries.has(uid))
        continue;
      this.#options.coordination.closeSession(uid, record.session).catch(() => {
        this.#options.meter.unavailable("closeSession");
      });
    }
  }

  #forget(entry: Entry): void {
    const { uid } = entry.session.identity;
    if (this.#entries.get(uid) === entry) this.#entries.delete(uid);
  }
}
