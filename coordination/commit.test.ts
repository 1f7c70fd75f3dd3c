/** What a commit counts before a machine that serves may go down (design, rule 1). */
import { beforeEach, expect, it } from "vitest";
import type { Fate } from "../test/sim/etcd.ts";
import { desired, LedRoom, request, WHY } from "../test/slots/led-room.ts";
import type { CommitResult } from "./coordination.ts";
import { keys } from "./keys.ts";
import type { BudgetGate, Token } from "./records.ts";

let led: LedRoom;

beforeEach(async () => {
  led = await LedRoom.create();
});

interface Machine {
  uid: string;
  token: Token;
  session: number;
}

/** A plain machine that holds a slot of `group/g` and may ask to commit. */
async function drained(uid: string): Promise<Machine> {
  await led.room.putDesired(led.leader, uid, desired);
  const budgets = ["group/g"];
  const asked = request({ uid, node: uid, nonce: uid, budgets, plain: true });
  const result = await led.room.takeGrant(led.leader, asked);
  if (result.outcome !== "granted") throw new Error(`refused: ${result.why.message}`);
  const session = await led.room.openSession(uid, "gw", await led.port.leaseOnce(600));
  await led.room.markDrained(led.leader, uid, result.token);
  return { uid, token: result.token, session };
}

function renew(change: Partial<BudgetGate>): Promise<boolean> {
  return led.room.writeGates(led.leader, led.gates({}, change));
}

function commit({ uid, session, token }: Machine): Promise<CommitResult> {
  return led.room.commit(uid, session, token, "b1/0");
}

const full = { outcome: "refused", why: { reason: "WaitingForBudget" } };

/** Two hold a slot; then a third goes down while the gateways are away. */
async function twoOfTwo(): Promise<[Machine, Machine]> {
  await renew({ max: 2 });
  const both = [await drained("m1"), await drained("m2")] as const;
  led.pass(40_000);
  await renew({ max: 2, unavailable: ["m3"] });
  return [...both];
}

it("lets one of two commit where a third went down since their grants", async () => {
  const [m1, m2] = await twoOfTwo();
  expect(await commit(m1)).toMatchObject({ outcome: "committed" });
  expect(await commit(m2)).toMatchObject(full);
  expect(await led.room.withdraw("m1", m1.session, m1.token, WHY)).toBe("done");
  expect(await commit(m2)).toMatchObject({ outcome: "committed" });
});

it("lets one of two commit that ask at once", async () => {
  const results = await Promise.all((await twoOfTwo()).map(commit));
  expect(results.map(({ outcome }) => outcome).toSorted()).toEqual(["committed", "refused"]);
});

it.each<Fate>(["unanswered", "lost", "late"])(
  "answers once, and lets no second one pass, where the first answer is %s",
  async (fate) => {
    const [m1, m2] = await twoOfTwo();
    led.fates = [fate];
    expect(await commit(m1)).toMatchObject({ outcome: "committed" });
    expect(await commit(m1)).toMatchObject({ outcome: "committed" });
    for (const land of led.land) land();
    await new Promise((resolve) => setImmediate(resolve));
    expect(await commit(m2)).toMatchObject(full);
    expect((await led.room.readNode("m1")).grant?.phase.phase).toBe("Committed");
  },
);

it("counts who is down beside a machine that a gate saw between two gateways", async () => {
  await renew({ max: 1 });
  const m1 = await drained("m1");
  await renew({ max: 1, unavailable: ["m1", "m2"] });
  expect(await commit(m1)).toMatchObject(full);
  await renew({ max: 1, unavailable: ["m1"] });
  expect(await commit(m1)).toMatchObject({ outcome: "committed" });
});

it("asks the budgets, too, that came to bind the machine after its grant", async () => {
  await renew({ max: 1 });
  const m1 = await drained("m1");
  const { groups, budgets } = led.gates();
  const later: BudgetGate = {
    budget: "budget/later",
    max: 1,
    unavailable: ["m9"],
    granted: ["m1"],
    validUntil: led.clock.now() + 20_000,
  };
  await led.room.writeGates(led.leader, { groups, budgets: [...budgets, later] });
  expect(await commit(m1)).toMatchObject(full);
  await led.room.writeGates(led.leader, { groups, budgets: [...budgets, { ...later, unavailable: [] }] });
  expect(await commit(m1)).toEqual({ outcome: "committed", goodForSeconds: 20 });
  expect(led.etcd.records.has(keys.budgetSeq("budget/later"))).toBe(true);
});
