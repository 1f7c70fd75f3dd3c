import { beforeEach, expect, it } from "vitest";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Leadership } from "../../coordination/coordination.ts";
import { zincatiId } from "../../coordination/identity.ts";
import type { Identity } from "../../coordination/records.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import { group, node, nodeUpdate } from "../fixtures.ts";
import { aliasesOfNodes } from "../node-update/identity.ts";
import { Identities, identitiesOf } from "./identities.ts";

const ID = "0123456789abcdef0123456789abcdef";
const CLONE = "f".repeat(32);
const serving = group("edge", { machines: {} });

function plain(name: string, machineId: string, of = "edge"): NodeUpdate {
  const made = nodeUpdate(name, of, undefined);
  made.spec = { group: of, machineRef: { machineId, labels: {} } };
  return made;
}

it("says whose Zincati's id is, of the machines of groups that serve others", () => {
  const groups = [serving, group("closed")];
  const nodeUpdates = [plain("a", ID), plain("b", "f".repeat(32), "closed")];
  expect([...identitiesOf({ groups, nodes: [], nodeUpdates }, { present: new Set() })]).toEqual([
    [zincatiId(ID), { uid: ID, name: "a" }],
  ]);
});

it("says which Node it is, by its name and by its machine id, and whether our agent is there", () => {
  const pooled = (name: string) => {
    const made = node(name);
    if (made.status?.nodeInfo !== undefined) made.status.nodeInfo.machineID = name === "a" ? ID : CLONE;
    return made;
  };
  const nodes = ["a", "b", "c"].map(pooled);
  const nodeUpdates = ["a", "b", "c"].map((name) => nodeUpdate(name, "edge", undefined));
  const said = identitiesOf({ groups: [serving], nodes, nodeUpdates }, { present: new Set(["uid-b"]) });
  const edge = (name: string, agent = false) => ({
    uid: `uid-${name}`,
    name,
    node: { group: "edge", agent },
  });
  expect(Object.fromEntries(said)).toEqual({
    ...{ a: edge("a"), [ID]: edge("a"), [zincatiId(ID)]: edge("a") },
    // Both say that they have the same machine id, so it is nobody's.
    ...{ b: edge("b", true), c: edge("c") },
  });
  const of = aliasesOfNodes(nodes);
  expect(nodes.map(of)).toEqual([[ID, zincatiId(ID), "foreign/a"], ["foreign/b"], ["foreign/c"]]);
  expect(of(undefined)).toEqual([]);
});

let led: LedRoom;
let writes: ReadonlyMap<string, Identity | undefined>[];
let identities: Identities;
let lost: boolean;
beforeEach(async () => {
  led = await LedRoom.create();
  [writes, lost] = [[], false];
  identities = new Identities({
    leader: () => led.leader,
    coordination: {
      readIdentities: () => led.room.readIdentities(),
      putIdentities: (leader: Leadership, changes) => {
        writes.push(changes);
        if (lost) throw new Error("etcd is away");
        return led.room.putIdentities(leader, changes);
      },
    },
  });
});
const tend = (...nodeUpdates: NodeUpdate[]) =>
  identities.tend({ groups: [serving], nodes: [], nodeUpdates }, { present: new Set() });

it("writes what changed, and takes away whose machine is gone", async () => {
  await tend(plain("a", ID));
  expect(await led.room.identify(zincatiId(ID))).toEqual({ uid: ID, name: "a" });
  await tend(plain("a", ID));
  expect(writes).toHaveLength(1);
  await tend();
  expect((await led.room.readIdentities()).size).toBe(0);
});

it("knows after a failure, and after another manager, what etcd has", async () => {
  lost = true;
  await expect(tend(plain("a", ID))).rejects.toThrow("away");
  lost = false;
  await tend(plain("a", ID));
  expect((await led.room.readIdentities()).size).toBe(1);
  await new Identities({ leader: () => led.leader, coordination: led.room }).tend(
    { groups: [serving], nodes: [], nodeUpdates: [] },
    { present: new Set() },
  );
  expect((await led.room.readIdentities()).size).toBe(0);
});
