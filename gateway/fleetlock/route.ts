/**
 * FleetLock: `pre-reboot` takes a slot of the UpdateGroup that the client's group names, `steady-state` gives it back.
 * Both may be repeated, and giving back what one does not hold is no error, as the protocol asks.
 */
import type { Coordination } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { type MachineCredentials, whyRefused } from "../../pki/machine-credentials.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { EdgeAnswer, EdgeRequest, Route } from "../edge/server.ts";
import type { SlotLine } from "../slots/line.ts";
import { awaitReboot, giveBack, refuseNode } from "../slots/node.ts";
import { errorOf, type FleetLockError, no, PROTOCOL_HEADER, parseClient, YES } from "./wire.ts";

const PREFIX = "/fleetlock";
/** Two short strings. */
const MAX_BODY = 8 * 1024;
/** Zincati waits 30 min for an answer, what lies between (an ingress) 60 s as a rule: less than that, ms. */
const HOLD = 25_000;

export interface FleetLockOptions {
  coordination: Pick<Coordination, "identify" | "requestReboot" | "endReboot">;
  clock: Clock;
  line: Pick<SlotLine, "take" | "free">;
  credentials: MachineCredentials;
  /** Whether machines of the group need show nothing. */
  isOpen: (group: string) => boolean;
  log: Logger;
  /** `kind`: `granted`, `held`, `freed`, `none`, or that of the error. */
  meter: (call: "pre-reboot" | "steady-state" | "other", kind: string) => void;
  hold?: number;
}

/** `PREFIX/v1/CALL` and `PREFIX/SECRET/v1/CALL`. */
export function fleetLockRoute(options: FleetLockOptions): Route {
  return {
    prefix: PREFIX,
    maxBody: MAX_BODY,
    answer: async (request) => {
      const [, secret, call = "other"] =
        /^\/fleetlock(?:\/([\w-]{1,128}))?\/v1\/(pre-reboot|steady-state)$/.exec(request.path) ?? [];
      const known = call === "pre-reboot" || call === "steady-state" ? call : "other";
      const { kind, answer } = await decide(options, request, known, secret);
      options.meter(known, kind);
      return answer;
    },
  };
}

async function decide(
  options: FleetLockOptions,
  request: EdgeRequest,
  call: "pre-reboot" | "steady-state" | "other",
  secret: string | undefined,
): Promise<{ kind: string; answer: EdgeAnswer }> {
  const refuse = (error: FleetLockError) => ({ kind: error.kind, answer: no(error) });
  if (call === "other") {
    return refuse({ status: 404, kind: "not_found", value: "There are v1/pre-reboot and v1/steady-state." });
  }
  if (request.method !== "POST") {
    return refuse({ status: 405, kind: "method_not_allowed", value: "Both calls are POST." });
  }
  if (request.header(PROTOCOL_HEADER) !== "true") {
    return refuse({
      status: 400,
      kind: "missing_header",
      value: `The header "${PROTOCOL_HEADER}: true" is missing.`,
    });
  }
  const client = parseClient(request.body);
  if ("kind" in client) return refuse(client);
  const { id, group } = client;
  const shown = {
    secret: secret ?? /^Bearer ([\w-]{1,128})$/i.exec(request.header("authorization") ?? "")?.[1],
    certificate: request.certificate,
  };
  const { coordination, credentials, line, log } = options;
  if (!credentials.accepts(shown, group, id) && !options.isOpen(group)) {
    return refuse({
      status: shown.secret === undefined && shown.certificate === undefined ? 401 : 403,
      kind: "unauthorized",
      value: whyRefused(shown, group, id),
    });
  }
  try {
    const identity = await coordination.identify(id);
    if (call === "steady-state") {
      const freed = await giveBack(options, identity, id, group, "FleetLock");
      if (freed === "freed")
        log.info("a machine gave its slot back", { machine: id, group, protocol: "FleetLock" });
      return { kind: freed, answer: YES };
    }
    const { uid, name, node } = identity;
    const ask = { uid, name, group, protocol: "FleetLock" } as const;
    const foreign = node === undefined ? undefined : refuseNode(name, node, group, "the FleetLock client");
    if (foreign !== undefined) {
      return refuse({ status: 409, kind: `failed_lock_${foreign.kind}`, value: foreign.message });
    }
    const hold = options.hold ?? HOLD;
    const result =
      node === undefined
        ? await line.take(ask, hold, request.gone)
        : await awaitReboot(options, { ...ask, id }, hold, request.gone);
    if (result.outcome === "refused") return refuse(errorOf(result.why));
    if (result.outcome === "granted")
      log.info("a machine has a slot", { machine: id, group, protocol: "FleetLock" });
    return { kind: result.outcome, answer: YES };
  } catch (error) {
    if (!(error instanceof EtcdUnavailable)) throw error;
    log.error("etcd gives no answer to a machine", error, { machine: id, group });
    return refuse(
      errorOf({ reason: "EtcdUnavailable", message: "Nothing was changed, or it is not known: ask again." }),
    );
  }
}
