/** What a person says of one machine, from the annotation to etcd. The API server is what it is asked to write. */
import { beforeEach, expect, it } from "vitest";
import {
  LOCK_MACHINE_ANNOTATION,
  RETRY_MACHINE_ANNOTATION,
  STEAL_MACHINE_ANNOTATION,
} from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { silentLogger } from "../../ports/log.ts";
import type { Patch } from "../../runtime/client.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom, must } from "../../test/slots/led-room.ts";
import { group, node, nodeUpdate } from "../fixtures.ts";
import { MachinesController } from "./controller.ts";
import { Identities } from "./identities.ts";
import { machinesStatus } from "./policy.ts";

const ID = "0123456789abcdef0123456789abcdef";
const machines = { budgets: ["group/g"], needs: 60_000, open: false };

let led: LedRoom;
let patches: unknown[];
let controller: MachinesController;
beforeEach(async () => {
  led = await LedRoom.create();
  patches = [];
  const leader = () => led.leader;
  controller = new MachinesController({
    ...{ coordination: led.room, leader, clock: led.clock, random: new SeededRandom(3), log: silentLogger },
    identities: new Identities({ coordination: led.room, leader }),
    client: {
      apply: <T extends KubeObject>(_: unknown, object: KubeObject) => Promise.resolve(object as T),
      patch: <T extends KubeObject>(_: unknown, { name }: { name: string }, { body }: Patch) => {
        patches.push(body);
        return Promise.resolve({ metadata: { name } } as T);
      },
    },
  });
  await led.room.writeGates(led.leader, led.gates({ machines }));
});

async function say(annotation: string, word: string, nodes: readonly string[] = []): Promise<void> {
  const made = group("g", { machines: {} });
  made.metadata.annotations = { [annotation]: word };
  const nodeUpdates = nodes.map((name) => nodeUpdate(name, "g", undefined));
  const world = { groups: [made], nodes: nodes.map((name) => node(name)), nodeUpdates };
  await controller.tend(world, await led.room.readFleet());
}
const taken = (annotation: string, value: string) => {
  const path = `/metadata/annotations/${annotation.replace("/", "~1")}`;
  return [
    { op: "test", path, value },
    { op: "remove", path },
  ];
};
const journal = async () =>
  (await led.room.readJournal(0)).map(({ node, reason, message }) => [node, reason, message]);

it("takes a slot for a machine, as locksmithctl lock does, once there is room, and frees it", async () => {
  await led.room.takeForeign({ uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "n" });
  const word = "rack-7: it is being moved";
  await say(LOCK_MACHINE_ANNOTATION, word);
  expect(patches).toEqual([]);
  await led.room.freeForeign("m", "g", "FleetLock");
  await say(LOCK_MACHINE_ANNOTATION, word);
  expect(patches).toEqual([taken(LOCK_MACHINE_ANNOTATION, word)]);
  const { holders } = await led.room.readForeign("g");
  expect(holders).toMatchObject([{ uid: "foreign/rack-7", name: "rack-7", protocol: "Locksmith" }]);
  const told = machinesStatus(group("g", { machines: {} }), await led.room.readFleet());
  expect(told?.holders).toMatchObject([{ machine: "rack-7", reason: "it is being moved" }]);
  await say(STEAL_MACHINE_ANNOTATION, "rack-7");
  expect((await led.room.readForeign("g")).holders).toEqual([]);
  expect(await journal()).toEqual([
    ["rack-7", "Locked", "A person takes a slot for it: it is being moved."],
    ["rack-7", "Stolen", "A person frees the slot: no reason given."],
  ]);
});

it("takes none for a Node, whose places are in other budgets, too", async () => {
  await say(LOCK_MACHINE_ANNOTATION, "a: it is being moved", ["a"]);
  expect((await led.room.readFleet()).grants.size).toBe(0);
  expect(patches).toEqual([]);
});

it("lets a machine try again what failed on it", async () => {
  const machine: ForeignMachine = {
    ...{ id: ID, group: "g", product: "p", version: "1", track: "g", board: "", oem: "", alias: "" },
    ...{ bootId: "b", firstSeen: 0, lastSeen: 0, failed: [] },
  };
  await led.room.putForeignMachine(ID, machine);
  const ask = {
    uid: ID,
    name: ID,
    group: "g",
    nonce: "n",
    release: "r",
    version: "2",
    threshold: 9,
    machine,
  };
  expect((await led.room.takeUpdate(ask)).outcome).toBe("granted");
  const updating = must(await led.room.readForeignMachine(ID));
  await led.room.endUpdate({ uid: ID, machine: updating, how: "failed", code: 44 });
  expect((await led.room.readForeignMachine(ID))?.failed).toHaveLength(1);
  await say(RETRY_MACHINE_ANNOTATION, `${ID}: the mirror was broken`);
  expect((await led.room.readForeignMachine(ID))?.failed).toEqual([]);
  await say(RETRY_MACHINE_ANNOTATION, "nobody");
  expect(patches).toEqual([
    taken(RETRY_MACHINE_ANNOTATION, `${ID}: the mirror was broken`),
    taken(RETRY_MACHINE_ANNOTATION, "nobody"),
  ]);
  expect((await journal())[0]).toEqual([
    ...[ID, "Retried", "A person lets it try again what failed: the mirror was broken."],
  ]);
});
