import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { startEtcd } from "../hack/plane/etcd.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { DesiredSchema } from "../proto/gen/agent_pb.ts";
import { createCoordination } from "./create.ts";
import { connectEtcd } from "./etcd3-port.ts";
import { openGate } from "./fixtures.ts";

it("lets 3 of 50 through that ask at once, by two clients of a real etcd", async () => {
  const cluster = await startEtcd();
  const ports = [0, 1].map(() =>
    connectEtcd({ endpoints: cluster.endpoints, clock: systemClock, random: systemRandom }),
  );
  try {
    const rooms = ports.map((etcd) =>
      createCoordination({ etcd, clock: systemClock, random: systemRandom, log: silentLogger }),
    );
    const [room] = rooms;
    if (room === undefined) throw new Error("there is no room");
    const leader = await room.raiseEpoch(await room.readEpoch(), true);
    if (leader === undefined) throw new Error("nobody else leads");
    const validUntil = systemClock.now() + 30_000;
    await room.writeGates(leader, {
      groups: [openGate("g", validUntil)],
      budgets: [{ budget: "group/g", max: 3, unavailable: [], validUntil }],
    });
    const desired = create(DesiredSchema, { group: "g", target: { release: "r" } });
    const uids = Array.from({ length: 50 }, (_, i) => `n${i}`);
    await Promise.all(uids.map((uid) => room.putDesired(leader, uid, desired)));
    const results = await Promise.all(
      uids.map((uid, i) =>
        (rooms[i % 2] ?? room).takeGrant(leader, {
          uid,
          node: uid,
          group: "g",
          release: "r",
          budgets: ["group/g"],
          desired,
          nonce: uid,
          needs: 1_000,
          bootNeeds: 500,
          reason: "race",
        }),
      ),
    );
    const granted = results.filter(({ outcome }) => outcome === "granted");
    expect(granted).toHaveLength(3);
    for (const result of results) {
      if (result.outcome === "refused") expect(result.why.reason).toBe("WaitingForBudget");
    }
    const fleet = await room.readFleet();
    expect(fleet.budgets.get("group/g")).toMatchObject({ seq: 3 });
    expect(fleet.budgets.get("group/g")?.holders.size).toBe(3);
    for (const result of granted) {
      const tokens = [...fleet.grants.values()].map(({ token }) => token);
      expect(tokens).toContainEqual(result.outcome === "granted" && result.token);
    }
  } finally {
    await Promise.all(ports.map((port) => port.close()));
    await cluster.stop();
  }
});
