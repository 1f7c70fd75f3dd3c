/** What the manager wants of a node, and what is forgotten with it. */
import { equals } from "@bufbuild/protobuf";
import { type Desired, DesiredSchema } from "../proto/gen/agent_pb.ts";
import type { Leadership } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import { keys } from "./keys.ts";
import { type Parser, protoText } from "./parse.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** False if the epoch is no longer ours. A record that can't be read is replaced. */
export function putDesired(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  desired: Desired,
): Promise<boolean> {
  const key = keys.desiredOf(uid);
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([...LEADERSHIP, { key }]);
    const [epoch, incarnation, found] = results.map((kvs) => kvs[0]);
    const view = viewEpoch(epoch, incarnation, parser);
    if (!leads(view, leader)) return { answer: false };
    const current = parser.proto(DesiredSchema, found);
    if (current !== undefined && equals(DesiredSchema, current, desired)) return { answer: true };
    return {
      compares: [...view.compares, unchanged(key, found)],
      operations: [{ put: key, value: protoText(DesiredSchema, desired) }],
      committed: () => true,
    };
  });
}

/** False if the epoch is no longer ours, or the node still holds a grant. */
export function forgetNode(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
): Promise<boolean> {
  const records = [keys.desiredOf(uid), keys.observedOf(uid), keys.session(uid)];
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([
      ...LEADERSHIP,
      { key: keys.grant(uid) },
      ...records.map((key) => ({ key })),
    ]);
    const [epoch, incarnation, grant, ...found] = results.map((kvs) => kvs[0]);
    const view = viewEpoch(epoch, incarnation, parser);
    if (!leads(view, leader) || grant !== undefined) return { answer: false };
    if (found.every((kv) => kv === undefined)) return { answer: true };
    return {
      compares: [
        ...view.compares,
        unchanged(keys.grant(uid), undefined),
        ...records.map((key, i) => unchanged(key, found[i])),
      ],
      operations: records.map((key) => ({ delete: key })),
      committed: () => true,
    };
  });
}
