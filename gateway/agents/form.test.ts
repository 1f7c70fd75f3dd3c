import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  type Hello,
  HelloSchema,
  type Observed,
  ObservedSchema,
  TokenSchema,
} from "../../proto/gen/agent_pb.ts";
import {
  checkBoot,
  checkHello,
  checkObserved,
  checkToken,
  checkVerdict,
  checkWhy,
  isMachineId,
  MalformedMessage,
} from "./form.ts";

const MACHINE = "0123456789abcdef0123456789abcdef";
const boot = { bootId: "b", softReboots: 2 };

function observed(body: Parameters<typeof create<typeof ObservedSchema>>[1]): Observed {
  return create(ObservedSchema, body);
}

function hello(body: Parameters<typeof create<typeof HelloSchema>>[1]): Hello {
  return create(HelloSchema, body);
}

test("what an agent sends passes", () => {
  const report = observed({
    boot,
    slots: [{ name: "A", version: "1.0.0+build.2", rootHash: "ab" }, { name: "B" }],
    failed: Array.from({ length: 20 }, () => ({ rootHash: "ab", reason: "FellBack", message: "no boot" })),
    step: "Idle",
    token: { incarnation: "one", revision: 7n },
  });
  expect(() => checkObserved(report)).not.toThrow();
  expect(() => checkHello(hello({ machineId: MACHINE, boot, observed: report }), undefined)).not.toThrow();
  expect(() => checkHello(hello({ machineId: MACHINE, boot }), MACHINE)).not.toThrow();
});

test.each<[string, () => unknown]>([
  ["slots", () => checkObserved(observed({ slots: [{}, {}, {}] }))],
  ["failed", () => checkObserved(observed({ failed: Array.from({ length: 21 }, () => ({})) }))],
  ["failed.version", () => checkObserved(observed({ failed: [{ version: "a b" }] }))],
  ["slots.version", () => checkObserved(observed({ slots: [{ version: "x".repeat(129) }] }))],
  ["observed.step", () => checkObserved(observed({ step: "\u001b[2J" }))],
  ["observed.boot", () => checkObserved(observed({ boot: { bootId: "" } }))],
  ["observed.token", () => checkObserved(observed({ token: { incarnation: "é" } }))],
  ["revision", () => checkToken("token", create(TokenSchema, { incarnation: "one", revision: 2n ** 53n }))],
  ["token: missing", () => checkToken("token", undefined)],
  ["boot_id", () => checkBoot("boot", { ...create(HelloSchema, { boot }).boot, bootId: "a/b" } as never)],
  ["hello.boot", () => checkHello(hello({ machineId: MACHINE }), undefined)],
  ["hello.machine_id", () => checkHello(hello({ machineId: "x", boot }), undefined)],
  ["client certificate", () => checkHello(hello({ machineId: "f".repeat(32), boot }), MACHINE)],
  ["verdict", () => checkVerdict("Fine")],
])("%s out of form is refused by its name", (name, check) => {
  expect(check).toThrow(MalformedMessage);
  expect(check).toThrow(name);
});

test("free text is clipped and can't steer a terminal", () => {
  const { message, failed } = checkObserved(
    observed({
      message: `\u001b[31m${"x".repeat(5000)}\n`,
      failed: [{ message: "a\u0007b" }, { message: "x".repeat(5000) }],
    }),
  );
  expect(message).toHaveLength(1024);
  expect(message.startsWith(" [31mx")).toBe(true);
  expect(failed[0]?.message).toBe("a b");
  expect(failed[1]?.message).toHaveLength(200);
});

test("a reason that the catalogue has is kept, another is replaced", () => {
  expect(checkWhy("CommitExpired", "late", "Withdrawn").reason).toBe("CommitExpired");
  expect(checkWhy("constructor", "", "Withdrawn").reason).toBe("Withdrawn");
  expect(checkWhy("", "", "FellBack").reason).toBe("FellBack");
});

test("a Node's UID is no machine id", () => {
  expect(isMachineId("0f3c9e6e-3a4b-4b57-9a39-a0a5b2f5f6d1")).toBe(false);
  expect(isMachineId(MACHINE.toUpperCase())).toBe(false);
  expect(isMachineId(MACHINE)).toBe(true);
});
