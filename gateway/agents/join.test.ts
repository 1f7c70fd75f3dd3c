import { beforeEach, expect, test } from "vitest";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { silentLogger } from "../../ports/log.ts";
import { FakeCoordination } from "../fake-coordination.ts";
import { Refused } from "./authenticate.ts";
import { Enrolment } from "./join.ts";

const MACHINE = "0123456789abcdef0123456789abcdef";
const JOINED = 1_800_000_000_700;
const identity = (issuedAt: number) => ({ uid: MACHINE, node: MACHINE, machineId: MACHINE, issuedAt });

let coordination: FakeCoordination;
let enrolment: Enrolment;
beforeEach(() => {
  coordination = new FakeCoordination();
  coordination.machines.set(MACHINE, { group: "edge", labels: {}, expiresAt: 0, joinedAt: JOINED });
  enrolment = new Enrolment({
    coordination,
    authority: () => {
      throw new Error("no certificates here");
    },
    log: silentLogger,
  });
});

test.each([
  ["issued when it joined, in whole seconds", 1_800_000_000_000, true],
  ["renewed since", JOINED + 86_400_000, true],
  ["from before it was forgotten and joined anew", JOINED - 1000, false],
])("a certificate that was %s", async (_what, issuedAt, good) => {
  const checked = enrolment.check(identity(issuedAt));
  if (good) expect(await checked).toMatchObject({ group: "edge" });
  else await expect(checked).rejects.toBeInstanceOf(Refused);
});

test("of a machine that was forgotten no certificate is worth anything", async () => {
  coordination.machines.clear();
  await expect(enrolment.check(identity(JOINED + 1000))).rejects.toBeInstanceOf(Refused);
});

test("a node's agent has no certificate, and where etcd does not answer nobody is refused", async () => {
  expect(await enrolment.check({ uid: "uid-n1", node: "n1" })).toBeUndefined();
  coordination.failing.add("readMachine");
  await expect(enrolment.check(identity(JOINED))).rejects.toBeInstanceOf(EtcdUnavailable);
});
