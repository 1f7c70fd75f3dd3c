import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BootSlot, SlotName } from "../fastpatch/boot-control.ts";
import { DesiredSchema, GrantSchema, PolicySchema } from "../proto/gen/agent_pb.ts";
import type { Label, SlotMachine } from "./driver.ts";
import { target } from "./fake-gateway.ts";
import { type Act, type Failed, freshMemory } from "./memory.ts";
import { decide } from "./policy.ts";
import {
  bits,
  bootIsGood,
  canFallBack,
  defaultLimits,
  flipped,
  judge,
  other,
  type Run,
  type Situation,
} from "./situation.ts";

const policy = create(PolicySchema, { driver: "fastpatch", rebootMethod: "Reboot", bootDeadlineSeconds: 60 });
const token = { incarnation: "i", revision: 7n };
const boot = { id: "now", softReboots: 0 };
const before = { id: "before", softReboots: 0 };

function slot(name: SlotName, priority: number, tries: number, successful: boolean): BootSlot {
  return { name, priority, tries, successful, offset: 0, size: 0, partition: name };
}

function machine(
  A: [number, number, boolean],
  B: [number, number, boolean],
  running: SlotName = "A",
): SlotMachine {
  const labels: Record<SlotName, Label> = {
    A: { version: "1.0.0", rootHash: "a" },
    B: { version: "2.0.0", rootHash: "b" },
  };
  return { kind: "slots", running, slots: [slot("A", ...A), slot("B", ...B)], labels };
}

const act: Act = {
  token,
  target: { release: "r", version: "2.0.0", rootHash: "b" },
  policy,
  step: "Rebooting",
  bootAtCommit: before,
  slot: "B",
  verdict: null,
  withdraw: null,
};

const run: Run = {
  startedAt: 0,
  switch: "unknown",
  commit: undefined,
  asked: undefined,
  rebootAskedAt: undefined,
  failure: undefined,
  checks: undefined,
  staging: undefined,
  stagingFailed: undefined,
};

const good: [number, number, boolean] = [1, 0, true];

function situation(over: Partial<Situation> = {}): Situation {
  return {
    memory: freshMemory(),
    boot,
    architecture: "amd64",
    runningVersion: "1.0.0",
    machine: machine(good, [0, 0, false]),
    link: {
      connected: true,
      session: 1,
      since: 0,
      handshake: true,
      desired: create(DesiredSchema, { target: target("2.0.0", "b"), policy, mayStage: true }),
      grant: null,
    },
    objection: undefined,
    run,
    now: 1_000,
    wall: 0,
    limits: defaultLimits,
    ...over,
  };
}

describe("a boot is judged by evidence", () => {
  it.each([
    ["not flipped: the reboot has not happened", [0, 0, false], "Flipped", "Before"],
    ["flipped with a try left: not tried yet", [2, 1, false], "Rebooting", "Before"],
    ["the tries are used and it was never good: it fell", [2, 0, false], "Rebooting", "Fell"],
    ["cleared by the firmware after the reboot was asked for: it fell", [0, 0, false], "Rebooting", "Fell"],
    ["a slot that ran well before and was not flipped yet", [1, 0, true], "Armed", "Before"],
  ] as const)("%s", (_, [priority, tries, successful], step, evidence) => {
    expect(judge({ ...act, step }, boot, machine(good, [priority, tries, successful]))).toBe(evidence);
  });

  it("the same boot identity resumes where it was", () => {
    expect(judge({ ...act, bootAtCommit: boot }, boot, machine(good, [2, 0, false]))).toBe("Before");
  });

  it("a soft reboot is another boot", () => {
    const soft = { id: boot.id, softReboots: 1 };
    expect(judge({ ...act, bootAtCommit: boot }, soft, machine(good, [2, 0, false]))).toBe("Fell");
  });

  it("the new slot runs, whatever was written last", () => {
    expect(judge({ ...act, step: "Committing" }, boot, machine(good, [2, 0, false], "B"))).toBe("New");
  });

  it("a verdict stands", () => {
    const judged: Act = {
      ...act,
      step: "Committing",
      verdict: { verdict: "FellBack", reason: "BootChecksFailed", message: "" },
    };
    expect(judge(judged, boot, machine(good, [0, 0, false]))).toBe("Fell");
  });
});

describe("a restarted agent", () => {
  it("undoes the flip of its predecessor before anything else, and asks again", () => {
    const memory = { ...freshMemory(), act: { ...act, bootAtCommit: boot } };
    const found = machine(good, [2, 1, false]);
    const first = decide(situation({ memory, machine: found }));
    expect(first.next).toMatchObject({ kind: "Save", memory: { act: { step: "Committing" } } });
    const committing = { ...freshMemory(), act: { ...act, bootAtCommit: boot, step: "Committing" as const } };
    expect(decide(situation({ memory: committing, machine: found })).next.kind).toBe("Unflip");
    expect(decide(situation({ memory: committing })).next.kind).toBe("Disarm");
    const link = {
      ...situation().link,
      grant: create(GrantSchema, { token, phase: "Committed", policy, target: target("2.0.0", "b") }),
    };
    const rested = { ...run, switch: "disarmed" as const };
    expect(decide(situation({ memory: committing, link, run: rested })).next.kind).toBe("AskCommit");
  });

  it("does not return, and so frees no slot, while the switch may still fire", () => {
    const memory = { ...freshMemory(), act };
    memory.machine = { ...memory.machine, floor: "2.0.0", good: ["b"] };
    const found = machine(good, [2, 0, true], "B");
    expect(decide(situation({ memory, machine: found })).next.kind).toBe("Disarm");
  });
});

describe("a fallback's reboot that does not come", () => {
  const failed: Failed = { rootHash: "b", version: "2.0.0", reason: "BootChecksFailed", message: "", at: 0 };
  const asked = (now: number, rebootTimeSeconds: number): ReturnType<typeof decide> => {
    const fallen: Act = {
      ...act,
      policy: create(PolicySchema, { ...policy, rebootTimeSeconds }),
      verdict: { verdict: "FellBack", reason: "BootChecksFailed", message: "" },
    };
    const memory = { machine: { ...freshMemory().machine, failed: [failed] }, act: fallen };
    const found = machine(good, [0, 0, false], "B");
    return decide(situation({ memory, machine: found, run: { ...run, rebootAskedAt: 1_000 }, now }));
  };

  it.each([
    ["the policy's time of a reboot", 25, 25_000],
    ["three minutes where the policy names none", 0, 180_000],
  ])("is asked for again after %s", (_, seconds, milliseconds) => {
    expect(asked(2_000, seconds)).toMatchObject({ next: { kind: "Wait" }, wakeAfter: milliseconds - 1_000 });
    expect(asked(1_000 + milliseconds, seconds).next).toMatchObject({ kind: "Reboot", before: null });
  });
});

describe("what the policy never does", () => {
  const bitsOf = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 2 }), fc.boolean());
  const machines = fc
    .record({
      A: bitsOf,
      B: bitsOf,
      running: fc.constantFrom("A" as const, "B" as const),
      labelled: fc.boolean(),
    })
    .map(({ A, B, running, labelled }) => {
      const found = machine(A, B, running);
      return labelled ? found : { ...found, labels: { ...found.labels, [other(running)]: undefined } };
    });
  const tokens = fc.constantFrom(token, { incarnation: "i", revision: 8n });
  const whys = fc.constantFrom({ reason: "CommitRefused" as const, message: "" });
  const acts: fc.Arbitrary<Act | null> = fc.option(
    fc.record({
      token: tokens,
      target: fc.constant(act.target),
      policy: fc
        .constantFrom("Reboot", "Kexec", "SoftReboot")
        .map((rebootMethod) => create(PolicySchema, { ...policy, rebootMethod })),
      step: fc.constantFrom(
        "Committing" as const,
        "Armed" as const,
        "Flipped" as const,
        "Rebooting" as const,
      ),
      bootAtCommit: fc.constantFrom(boot, before),
      slot: fc.constantFrom("A" as const, "B" as const),
      verdict: fc.option(
        fc.constant({ verdict: "FellBack" as const, reason: "BootChecksFailed" as const, message: "" }),
      ),
      withdraw: fc.option(whys),
    }),
  );
  const refused = { reason: "ImageRefused" as const, message: "" };
  const failedList = fc.constantFrom<Failed[]>(
    [],
    [{ rootHash: "b", version: "2.0.0", reason: "FellBack", message: "", at: 0 }],
  );
  const time = fc.integer({ min: 0, max: 200_000 });
  const commits = fc.option(
    fc.record({
      token: tokens,
      session: fc.constantFrom(1, 2),
      sentAt: time,
      answer: fc.option(fc.record({ goodForMs: fc.constantFrom(0, 10_000, 100_000), why: whys }), {
        nil: undefined,
      }),
    }),
    { nil: undefined },
  );
  const grants = fc.oneof(
    fc.constantFrom(null, undefined),
    fc
      .record({ token: tokens, phase: fc.constantFrom("Granted", "Drained", "Committed", "Returned") })
      .map((grant) => create(GrantSchema, { ...grant, policy, target: target("2.0.0", "b") })),
  );
  const anything = {
    act: acts,
    failed: failedList,
    machine: machines,
    connected: fc.boolean(),
    grant: grants,
    retry: fc.boolean(),
    mayStage: fc.boolean(),
    now: time,
    switch: fc.constantFrom("unknown" as const, "armed" as const, "disarmed" as const),
    commit: commits,
    rebootAskedAt: fc.option(time, { nil: undefined }),
    failure: fc.option(whys, { nil: undefined }),
    checks: fc.option(fc.record({ at: time, failing: fc.constantFrom<string[]>([], ["kubelet"]) }), {
      nil: undefined,
    }),
    staging: fc.option(fc.constantFrom({ rootHash: "b", progress: undefined }), { nil: undefined }),
    objection: fc.constantFrom(undefined, undefined, { rootHash: "b", why: refused }),
    goodHere: fc.constantFrom<string[]>([], ["a"], ["b"]),
  };
  /** What chance alone does not find: a grant that may be committed, and nothing in its way but what is checked. */
  const granted = {
    ...anything,
    act: fc
      .constantFrom("Committing" as const, "Armed" as const, "Flipped" as const, "Rebooting" as const)
      .map((step) => ({ ...act, step, bootAtCommit: boot })),
    failed: fc.constant<Failed[]>([]),
    machine: fc
      .constantFrom<[number, number, boolean]>([0, 0, false], [2, 1, false], [1, 0, true])
      .map((B) => machine(good, B)),
    connected: fc.constant(true),
    grant: fc
      .constantFrom("Drained", "Committed")
      .map((phase) => create(GrantSchema, { token, phase, policy, target: target("2.0.0", "b") })),
    rebootAskedAt: fc.constant(undefined),
    failure: fc.constant(undefined),
  };
  const situations: fc.Arbitrary<Situation> = fc
    .oneof(fc.record(anything), fc.record(granted))
    .map(({ act: found, failed, machine: slots, connected, grant, retry, mayStage, now, ...rest }) => {
      const { objection, goodHere, ...volatile } = rest;
      return situation({
        memory: { machine: { ...freshMemory().machine, failed, good: goodHere }, act: found },
        objection,
        machine: slots,
        link: {
          connected,
          session: 1,
          since: 0,
          handshake: true,
          desired: create(DesiredSchema, {
            target: target("2.0.0", "b"),
            policy,
            mayStage,
            retryRootHashes: retry ? ["b"] : [],
          }),
          grant,
        },
        run: { ...run, ...volatile },
        now,
      });
    });

  const always = (
    name: string,
    check: (s: Situation, next: ReturnType<typeof decide>["next"]) => void,
  ): void => {
    it(name, () => {
      fc.assert(
        fc.property(situations, (s) => check(s, decide(s).next)),
        { numRuns: 3_000 },
      );
    });
  };
  const licence = ({ run: { commit }, memory }: Situation): number =>
    commit?.answer && commit.answer.goodForMs > 0 && commit.token.revision === memory.act?.token.revision
      ? commit.sentAt + commit.answer.goodForMs
      : -1;

  always("a reboot without a good answer, but recovery from a boot that failed its checks", (s, next) => {
    if (next.kind !== "Reboot") return;
    const slots = s.machine as SlotMachine;
    if (next.before === null) {
      expect(bootIsGood(slots)).toBe(false);
      expect(canFallBack(slots)).toBe(true);
      expect(s.memory.act?.verdict ?? s.run.checks?.failing.length).toBeTruthy();
    } else {
      expect(next.before).toBe(licence(s));
      expect(s.now).toBeLessThan(next.before);
      expect(s.run.switch).toBe("armed");
      expect(s.memory.act?.step).toBe("Rebooting");
      expect(flipped(slots, s.memory.act?.slot ?? null)).toBe(true);
    }
  });

  always("a flip without a good answer and an armed switch, written down before", (s, next) => {
    if (next.kind !== "Flip") return;
    expect(s.now).toBeLessThan(licence(s));
    expect(s.run.switch).toBe("armed");
    expect(["Flipped", "Rebooting"]).toContain(s.memory.act?.step);
    expect(next.slot).not.toBe((s.machine as SlotMachine).running);
  });

  always("arming without a good answer", (s, next) => {
    if (next.kind === "Arm") expect(s.now).toBeLessThan(licence(s));
  });

  always("disarming before the running slot is good", (s, next) => {
    if (
      next.kind === "Disarm" &&
      s.memory.act?.verdict == null &&
      s.memory.act?.slot === (s.machine as SlotMachine).running
    ) {
      expect(bootIsGood(s.machine)).toBe(true);
    }
  });

  always("giving the slot back while the machine may still reboot into the target", (s, next) => {
    if (next.kind !== "Withdraw" && next.kind !== "Return") return;
    expect(s.run.switch).toBe("disarmed");
    if (next.kind === "Withdraw") expect(flipped(s.machine, s.memory.act?.slot ?? null)).toBe(false);
  });

  always("staging on a boot that is not good, under an act, or of a release that failed here", (s, next) => {
    if (next.kind !== "Stage") return;
    expect(bootIsGood(s.machine)).toBe(true);
    expect(s.memory.act).toBeNull();
    expect(s.link.desired?.mayStage).toBe(true);
    if (s.link.desired?.retryRootHashes.length === 0) expect(s.memory.machine.failed).toEqual([]);
  });

  always("asking to commit what failed here or is not staged", (s, next) => {
    if (next.kind !== "AskCommit") return;
    expect((s.machine as SlotMachine).labels[other((s.machine as SlotMachine).running)]?.rootHash).toBe("b");
    if (s.link.desired?.retryRootHashes.length === 0) expect(s.memory.machine.failed).toEqual([]);
  });

  always(
    "asking to commit, or flipping to, what may not boot any more and never ran well here",
    (s, next) => {
      if (next.kind !== "AskCommit" && !(next.kind === "Flip" && next.tries === 1)) return;
      if (!s.memory.machine.good.includes("b")) expect(s.objection).toBeUndefined();
    },
  );

  always("staging what it would later take for a release that ran well here", (s, next) => {
    if (next.kind === "Stage") expect(s.memory.machine.good).not.toContain(next.target.rootHash);
  });

  always("giving up the running slot where no other one boots", (s, next) => {
    if (next.kind !== "MarkBad") return;
    const slots = s.machine as SlotMachine;
    expect(next.slot).toBe(slots.running);
    const fallback = bits(slots, other(slots.running));
    expect(fallback?.successful === true && fallback.priority > 0).toBe(true);
  });
});
