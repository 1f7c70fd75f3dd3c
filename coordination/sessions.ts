/** Sessions of agents: the counter that fences a gateway's writes, presence, observed state (rules 2 and 3). */
import { type Observed, ObservedSchema } from "../proto/gen/agent_pb.ts";
import { keys } from "./keys.ts";
import { type Parser, protoText } from "./parse.ts";
import { Session } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** The new session's number. Where an answer was lost a number is skipped. */
export function openSession(
  { etcd, clock }: Ports,
  parser: Parser,
  uid: string,
  gateway: string,
  lease: string,
): Promise<number> {
  const key = keys.session(uid);
  return transact(etcd, async (): Promise<Step<number>> => {
    const found = (await etcd.read([{ key }])).results[0]?.[0];
    const now = clock.now();
    const session = Math.max((parser.json(Session, found)?.session ?? 0) + 1, Math.floor(now));
    return {
      compares: [unchanged(key, found)],
      operations: [
        { put: key, value: JSON.stringify({ session, gateway, at: now } satisfies Session) },
        { put: keys.presenceOf(uid), value: String(session), lease },
      ],
      committed: () => session,
    };
  });
}

/** Ends the presence of this session, where no newer one put its own. */
export function closeSession({ etcd }: Ports, uid: string, session: number): Promise<void> {
  const key = keys.presenceOf(uid);
  return transact(etcd, async (): Promise<Step<void>> => {
    const found = (await etcd.read([{ key }])).results[0]?.[0];
    if (found?.value !== String(session)) return { answer: undefined };
    return { compares: [unchanged(key, found)], operations: [{ delete: key }], committed: () => undefined };
  });
}

/** False if a newer session exists. A lost write never lands over a later one. */
export function putObserved(
  { etcd }: Ports,
  parser: Parser,
  uid: string,
  session: number,
  observed: Observed,
): Promise<boolean> {
  const [counter, key] = [keys.session(uid), keys.observedOf(uid)];
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([{ key: counter }, { key }]);
    const [newest, found] = results.map((kvs) => kvs[0]);
    if (parser.json(Session, newest)?.session !== session) return { answer: false };
    return {
      compares: [unchanged(counter, newest), unchanged(key, found)],
      operations: [{ put: key, value: protoText(ObservedSchema, observed) }],
      committed: () => true,
    };
  });
}
