import { expect, it } from "vitest";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { etcdSuite } from "../../coordination/etcd-suite.ts";
import { SimClock } from "./clock.ts";
import { type Fate, SimEtcd } from "./etcd.ts";

/** Lets promises settle, then time jump to the next timer, until `holds`. */
async function until(sim: SimClock, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = sim.time + 600_000;
  while (!(await holds())) {
    await new Promise((resolve) => setImmediate(resolve));
    if (sim.next() === undefined) sim.at(1000, () => {});
    sim.step();
    if (sim.time > deadline) throw new Error("it did not come to hold in 10 simulated minutes");
  }
}

etcdSuite("simulated etcd", async () => {
  const sim = new SimClock();
  const etcd = new SimEtcd(sim.process());
  const [port, other] = [etcd.connect(), etcd.connect()];
  return {
    port,
    other,
    prefix: "/t/",
    until: (holds) => until(sim, holds),
    close: async () => {
      await port.close();
      await other.close();
    },
  };
});

function world(fates: Fate[] = []): {
  sim: SimClock;
  etcd: SimEtcd;
  faulty: ReturnType<SimEtcd["connect"]>;
  land: () => void;
} {
  const sim = new SimClock();
  const etcd = new SimEtcd(sim.process());
  const held: (() => void)[] = [];
  const faulty = etcd.connect({
    send: () => fates.shift() ?? "ok",
    later: () => new Promise((resolve) => held.push(resolve)),
  });
  return { sim, etcd, faulty, land: () => held.shift()?.() };
}

it("loses a request, an answer, or both order and answer", async () => {
  const { etcd, faulty, land } = world(["lost", "unanswered", "late"]);
  const write = (value: string) =>
    faulty.txn([{ key: "a", target: "mod", is: "equal", revision: 0 }], [{ put: "a", value }]);
  expect(await write("lost")).toMatchObject({ outcome: "unknown" });
  expect(etcd.records.get("a")).toBeUndefined();
  expect(await write("unanswered")).toMatchObject({ outcome: "unknown" });
  expect(etcd.records.get("a")?.value).toBe("unanswered");
  await faulty.txn([], [{ put: "b", value: "late" }]);
  expect(etcd.records.get("b")).toBeUndefined();
  land();
  await expect.poll(() => etcd.records.get("b")?.value).toBe("late");
});

it("answers nothing while disconnected, and hints on the way back", async () => {
  const { sim, faulty } = world();
  let hints = 0;
  faulty.watch("", () => hints++);
  await until(sim, () => hints === 1);
  const session = await faulty.lease(9);
  faulty.disconnect();
  await expect(faulty.read([{ key: "a" }])).rejects.toThrow(EtcdUnavailable);
  expect(await faulty.txn([], [{ put: "a", value: "1" }])).toMatchObject({ outcome: "unknown" });
  await until(sim, () => session.lost.aborted);
  expect(sim.time).toBeLessThan(9000);
  faulty.reconnect();
  await until(sim, () => hints === 2);
});

it("goes back to a snapshot, and forgets everything", async () => {
  const { etcd, faulty } = world();
  await faulty.txn([], [{ put: "a", value: "1" }]);
  const snapshot = etcd.snapshot();
  await faulty.txn([], [{ put: "a", value: "2" }]);
  etcd.restore(snapshot);
  expect(etcd.records.get("a")?.value).toBe("1");
  expect((await faulty.read([])).revision).toBe(snapshot.revision);
  etcd.wipe();
  expect(etcd.records.size).toBe(0);
});
