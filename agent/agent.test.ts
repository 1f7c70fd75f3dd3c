import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PolicySchema } from "../proto/gen/agent_pb.ts";
import { ImageRefused } from "./driver.ts";
import { target } from "./fake-gateway.ts";
import type { Fault } from "./fake-machine.ts";
import { lastReason, over, type World, world } from "./fake-world.ts";

/** Runs `1.0.0` in A; `2.0.0` is staged in B. */
async function staged(w: World): Promise<void> {
  w.gateway.desired.target = target("2.0.0", "b");
  w.machine.startAgent();
  await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
}

describe("an update", () => {
  it("is staged, committed, booted, marked good and reported, in the order of the rules", async () => {
    const w = world();
    await staged(w);
    expect(w.machine.log).toEqual(["disarm", "stage", "staged"]);
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.log.slice(3)).toEqual([
      "arm",
      "flip B 1",
      "reboot Reboot",
      "boot B",
      "good B",
      "disarm",
    ]);
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
    expect(w.gateway.breaches).toEqual([]);
    await w.until(() => w.gateway.observed.at(-1)?.token === undefined);
    expect(w.gateway.observed.at(-1)).toMatchObject({ runningVersion: "2.0.0", floorVersion: "2.0.0" });
  });

  it("is not staged before it may be", async () => {
    const w = world();
    w.gateway.desired.mayStage = false;
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => lastReason(w) === "WaitingForStage");
    expect(w.machine.log).not.toContain("stage");
  });

  it("stops being fetched when the target changes, and the new one is fetched", async () => {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.machine.log.includes("stage"));
    w.gateway.desired.target = target("3.0.0", "c");
    w.gateway.push();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "c");
    expect(w.machine.log).not.toContain("staged, staged");
    expect(w.machine.labels.B?.version).toBe("3.0.0");
  });

  it("is tried again after a failure, later and later", async () => {
    const w = world();
    w.machine.stageFails = new Error("mirror is down");
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => lastReason(w) === "StagingFailed");
    w.machine.stageFails = undefined;
    await w.until(() => w.machine.labels.B?.rootHash === "b");
  });

  it("says that an image was refused", async () => {
    const w = world();
    w.machine.stageFails = new ImageRefused("Unsigned: no signature");
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => lastReason(w) === "ImageRefused");
  });

  it("falls back when its checks fail until the deadline, and is never tried again", async () => {
    const w = world();
    w.machine.healthy.delete("b");
    await staged(w);
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["FellBack BootChecksFailed"]);
    expect(w.machine.running).toBe("A");
    expect(w.machine.armed).toBeUndefined();
    w.gateway.grant = undefined;
    w.gateway.drop();
    await w.until(() => lastReason(w) === "NeverAgain");
    const boots = w.machine.boots;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.boots).toBe(boots);
    expect(w.gateway.verdicts.at(-1)).toBe("Withdrawn NeverAgain");
  });

  it("falls back after a panic, and one retry needs the manager's word", async () => {
    const w = world();
    w.machine.panics.add("b");
    await staged(w);
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["FellBack PowerLost"]);
    w.machine.panics.clear();
    w.gateway.grant = undefined;
    w.gateway.desired.retryRootHashes = ["b"];
    w.gateway.drop();
    await w.until(() => lastReason(w) === "WaitingForTurn");
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["FellBack PowerLost", "Updated Updated"]);
    await w.until(() => w.gateway.observed.at(-1)?.failed.length === 0);
    expect(w.gateway.breaches).toEqual([]);
  });

  it("takes the try itself before a kexec, which no firmware sees", async () => {
    const w = world();
    w.gateway.policy = create(PolicySchema, { ...w.gateway.policy, rebootMethod: "Kexec" });
    await staged(w);
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.log.slice(4, 7)).toEqual(["flip B 1", "flip B 0", "reboot Kexec"]);
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
  });
});

describe("a commit", () => {
  it("that is refused leads to a withdrawal and to no reboot", async () => {
    const w = world();
    await staged(w);
    w.gateway.goodForSeconds = 0;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn WaitingForWindow"]);
    expect(w.machine.boots).toBe(1);
  });

  it("whose seconds were spent while the process was frozen is undone and withdrawn", async () => {
    const w = world();
    await staged(w);
    w.machine.before = (act) => {
      if (act === "flip B 1") w.clock.freeze(29_000);
      if (act === "save" && w.machine.log.at(-1) === "flip B 1") w.clock.freeze(31_000);
    };
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn CommitExpired"]);
    expect(w.machine.log.slice(-2)).toEqual(["unflip", "disarm"]);
    expect(w.machine.boots).toBe(1);
    expect(w.gateway.breaches).toEqual([]);
  });

  it("that gets no answer is asked again in a new session", async () => {
    const w = world();
    await staged(w);
    w.gateway.goodForSeconds = undefined;
    w.gateway.give();
    await w.until(() => w.gateway.received.filter((body) => body.case === "commit").length === 2);
    expect(w.gateway.sessions).toBe(2);
    w.gateway.goodForSeconds = 30;
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
  });

  it("is not followed by a flip where the dead man's switch can't be armed", async () => {
    const w = world();
    await staged(w);
    w.machine.armFails = true;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn DeadManUnavailable"]);
    expect(w.machine.log.some((line) => line.startsWith("flip"))).toBe(false);
  });

  it("is undone where the host refuses to reboot", async () => {
    const w = world();
    await staged(w);
    w.machine.rebootRefused = "Operation inhibited by backup";
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn RebootRefused"]);
    expect(w.machine.bits("B")).toMatchObject({ priority: 0, tries: 0 });
    expect(w.machine.armed).toBeUndefined();
  });

  it("is left to the dead man's switch where the reboot is accepted and does not come", async () => {
    const w = world();
    await staged(w);
    w.machine.rebootIgnored = true;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.machine.log).toContain("dead-man");
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
  });

  it("is undone when the agent is told to end before the reboot", async () => {
    const w = world();
    await staged(w);
    w.machine.before = (act) => {
      if (act === "flip B 1") w.machine.stopAgent();
    };
    w.gateway.give();
    await w.until(() => w.machine.log.includes("unflip"));
    await w.until(() => w.machine.armed === undefined);
    expect(w.machine.boots).toBe(1);
    w.machine.before = () => {};
    w.machine.restartAgent();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
  });

  it("is forgotten when the grant is taken back", async () => {
    const w = world();
    await staged(w);
    w.gateway.goodForSeconds = undefined;
    w.gateway.give();
    await w.until(() => w.gateway.received.some((body) => body.case === "commit"));
    w.gateway.grant = undefined;
    w.gateway.drop();
    await w.until(() => lastReason(w) === "WaitingForTurn");
    expect(w.machine.boots).toBe(1);
  });
});

describe("an agent that can't do what it should", () => {
  it.each([
    ["disarm", "DeadManUnavailable"],
    ["save", "StateNotWritten"],
  ])("says so where it can't %s, and goes on once it can", async (act, reason) => {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    let broken = true;
    w.machine.before = (each) => {
      if (broken && each === act) throw new Error("Input/output error");
    };
    w.machine.startAgent();
    await w.until(() => w.gateway.observed.at(-1)?.reason === reason);
    expect(w.gateway.observed.at(-1)?.message).toBe("Input/output error");
    expect(w.machine.log).not.toContain("stage");
    broken = false;
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
  });
});

describe("recovery", () => {
  it("marks a boot good that it knows nothing of, once the checks pass", async () => {
    const w = world();
    Object.assign(w.machine.bits("A"), { successful: false, tries: 1 });
    w.machine.startAgent();
    await w.until(() => w.machine.bits("A").successful);
  });

  it("keeps a boot whose checks fail where no other slot ran well before", async () => {
    const w = world();
    w.machine.healthy.clear();
    Object.assign(w.machine.bits("A"), { successful: false, tries: 1 });
    w.machine.startAgent();
    await w.until(() => lastReason(w) === "BootChecksFailed");
    await w.clock.advance(300_000);
    expect(w.machine.boots).toBe(1);
  });

  it("finds its way when the state partition was lost in the reboot", async () => {
    const w = world();
    await staged(w);
    w.gateway.give();
    await w.until(() => w.machine.log.includes("boot B"));
    w.machine.state.bytes.fill(0xff);
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Updated Updated"]);
    expect(w.machine.armed).toBeUndefined();
  });
});

describe("whatever dies, and whenever", () => {
  const fault = fc.record({
    after: fc.integer({ min: 1, max: 60 }),
    kind: fc.constantFrom("kill-agent" as const, "power-cut" as const, "drop-session" as const),
  });
  const fate = fc.constantFrom("good" as const, "bad" as const, "panic" as const);

  const survives = async (faults: Fault[], what: "good" | "bad" | "panic"): Promise<void> => {
    const w = world();
    if (what === "bad") w.machine.healthy.delete("b");
    if (what === "panic") w.machine.panics.add("b");
    w.machine.faults = faults;
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
    w.gateway.give();
    await w.until(() => over(w), 3_600_000);
    await w.clock.advance(3_600_000);
    expect(w.gateway.breaches).toEqual([]);
    expect(w.machine.armed).toBeUndefined();
    expect(w.machine.bits(w.machine.running).successful).toBe(true);
    expect(w.gateway.verdicts).toHaveLength(1);
    const updated = w.gateway.verdicts[0]?.startsWith("Updated") === true;
    expect(w.machine.running).toBe(updated ? "B" : "A");
    if (what !== "good") expect(updated).toBe(false);
    expect(w.machine.agent?.observed?.token).toBeUndefined();
  };

  it("an update ends in one slot that is good, with one verdict and no breach of a rule", async () => {
    await fc.assert(fc.asyncProperty(fc.array(fault, { minLength: 1, maxLength: 4 }), fate, survives), {
      numRuns: 300,
    });
  });
});
