/** `updateservicectl instance`, and `group versions` and `group events`, by protocol suite. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { API_VERSION } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { openGate } from "../../coordination/fixtures.ts";
import { ports } from "../../runtime/test-namespace.ts";
import { now, refusal, UpdateServiceRoom, WAIT } from "../../test/coreupdate/service.ts";
import { ClientCountResp, ClientHistoryResp } from "../../test/coreupdate/wire.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";

let room: UpdateServiceRoom;
beforeAll(async () => {
  room = await UpdateServiceRoom.open("1.0.0", "1.2.0");
});
afterAll(() => room?.close());

describe("instance, and the graphs", () => {
  test("machines that speak Omaha, and nodes, are counted and have a history", async () => {
    const id = await room.group("seen", room.own("stable"));
    await offer(id, "1.2.0");
    const post = async (xml: string): Promise<string> => {
      const url = `${room.url}/v1/update/`;
      const answer = await fetch(url, { method: "POST", headers: { "content-type": "text/xml" }, body: xml });
      return await answer.text();
    };
    const machines = [1, 2].map((number) => new OmahaMachine(number, "1.0.0", post));
    for (const machine of machines) Object.assign(machine, { appid: room.app, track: id });
    const [one, two] = machines as [OmahaMachine, OmahaMachine];
    await expect.poll(async () => (await one.check()).does, WAIT).toBe("update");
    await one.install();
    one.reboot("1.2.0");
    await one.check();
    await two.check();
    await two.install();
    const name = room.own("node");
    await room.create(nodeUpdate, {
      ...{ apiVersion: API_VERSION, kind: "NodeUpdate", metadata: { name } },
      ...{ spec: { nodeName: name, group: id, release: `${room.app}-1.2.0` } },
    });
    const transitions = [
      { step: "Idle", time: "2027-01-15T08:00:00Z", reason: "Updated", message: "" },
      { step: "Staging", time: "2027-01-15T07:50:00Z", reason: "Staging", message: "" },
    ];
    const status = { running: "1.2.0", machineId: "f".repeat(32), connected: true, transitions };
    const patch = { type: "merge", body: { status } } as const;
    await room.here.admin.patch(nodeUpdate, { name }, patch, { subresource: "status" });

    const list = async () => (await room.bob.instanceListUpdates({ groupId: id, appId: room.app })).items;
    const found = async () =>
      (await list()).map(({ clientId, version }) => `${clientId} ${version}`).toSorted();
    const all = [`${one.id} 1.2.0`, `${two.id} 1.0.0`, `${"f".repeat(32)} 1.2.0`];
    await expect.poll(found, WAIT).toEqual(all.toSorted());
    const staged = async () => (await list()).find(({ clientId }) => clientId === two.id);
    await expect.poll(async () => (await staged())?.eventType, WAIT).toBe("3");
    const shown = await staged();
    expect(shown).toMatchObject({ eventResult: "1", errorCode: "0", oem: "qemu" });
    expect(Math.abs(Date.parse(shown?.lastSeen ?? "") - ports.clock.now())).toBeLessThan(60_000);
    expect((await room.bob.instanceListAppVersions({ groupId: id })).items).toEqual([
      { appId: room.app, groupId: id, version: "1.0.0", count: 1 },
      { appId: room.app, groupId: id, version: "1.2.0", count: 2 },
    ]);
    expect(
      (await room.bob.call(ClientCountResp, "GET", "clientupdatecount", { query: { groupId: id } })).count,
    ).toBe(3);
    const later = { groupId: id, dateStart: String(now() + 600) };
    expect((await room.bob.instanceListUpdates(later)).items).toEqual([]);

    const history = await room.bob.call(ClientHistoryResp, "GET", "client/history", {
      query: { clientId: one.id },
    });
    expect(history.items.map(({ eventType, eventResult }) => `${eventType}:${eventResult}`)).toEqual([
      ...["3:2", "3:1", "14:1", "13:1"],
    ]);
    await two.fail(37);
    const failed = await room.bob.call(ClientHistoryResp, "GET", "client/history", {
      query: { clientId: two.id },
    });
    expect(failed.items[0]).toMatchObject({
      ...{ eventType: "3", eventResult: "0", errorCode: "37", version: "1.0.0", groupId: id },
      installSource: "scheduler",
    });
    const node = await room.bob.call(ClientHistoryResp, "GET", "client/history", {
      query: { clientId: name },
    });
    expect(node.items.map(({ eventType, dateTime }) => [eventType, dateTime])).toEqual([
      ["3", 1_800_000_000n],
      ["13", 1_799_999_400n],
    ]);

    await room.gateway.stop();
    const reader = room.client(room.other, "bob");
    const versions = await reader.groupRollup("versions", room.app, id);
    const sum = (values: { count: bigint }[]) => values.reduce((total, { count }) => total + count, 0n);
    const counts = Object.fromEntries(
      versions.items.map(({ version, values }) => [version, Number(sum(values))]),
    );
    expect(counts["1.2.0"]).toBe(1);
    expect(counts["1.0.0"]).toBeGreaterThanOrEqual(6);
    const events = await reader.groupRollup("events", room.app, id, now() - 7200, now() + 60, 3600);
    const kinds = events.items.map(({ version, type, result }) => `${version} ${type}:${result}`);
    expect(kinds).toEqual(expect.arrayContaining(["1.0.0 13:1", "1.0.0 3:1", "1.2.0 3:2", "1.0.0 3:0"]));
    expect(await refusal(reader.groupRollup("events", room.app, id, 0, 0, 7))).toContain("400 Start and end");
    expect((await reader.groupRollup("events", room.app, id, 1, 2)).items).toEqual([]);
  });

  /** What a manager would let the group's machines have now. */
  async function offer(name: string, version: string): Promise<void> {
    const validUntil = ports.clock.now() + 29_000;
    const sha256 = "ab".repeat(32);
    const offered = {
      ...{ release: `${room.app}-${version}`, version, codebases: ["https://files.test/"], extras: [] },
      payload: { name: "update.gz", size: 100, sha256 },
    };
    await room.manager.writeGates(room.leader, {
      groups: [
        openGate(name, validUntil, {
          machines: { budgets: [`group/${name}`], needs: 60_000, open: true },
        }),
      ],
      budgets: [{ budget: `group/${name}`, max: 10, unavailable: [], validUntil }],
      offers: [
        {
          ...{ group: name, tracks: [name], product: room.app, ways: { amd64: [offered] } },
          ...{ share: 1, threshold: 100, validUntil },
        },
      ],
    });
  }
});
