import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { PolicySchema } from "../proto/gen/agent_pb.ts";
import { target } from "./fake-gateway.ts";
import { lastReason, over, type World, world } from "./fake-world.ts";

describe("the driver sentinel", () => {
  const sentinel = (): World => {
    const w = world();
    w.machine.driver = "sentinel";
    w.machine.marker = "/run/reboot-required";
    w.gateway.policy = create(PolicySchema, { ...w.gateway.policy, driver: "sentinel" });
    w.gateway.desired.policy = w.gateway.policy;
    w.machine.startAgent();
    return w;
  };

  it("reboots under a commit and reports that the marker is gone", async () => {
    const w = sentinel();
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === true);
    w.machine.before = (act) => {
      if (act.startsWith("reboot")) w.machine.marker = undefined;
    };
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Rebooted Rebooted"]);
    expect(w.gateway.breaches).toEqual([]);
  });

  it("concludes nothing, later and later, while its machine can't be looked at", async () => {
    const w = sentinel();
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === true);
    w.machine.observeFails = new Error("the command needs-reboot ended with 124");
    await w.until(() => lastReason(w) === "MachineUnreadable");
    expect(w.gateway.observed.at(-1)).toMatchObject({
      rebootRequired: true,
      message: "the command needs-reboot ended with 124",
    });
    const from = w.machine.looks.length - 1;
    await w.until(() => w.machine.looks.length > from + 5);
    const gaps = w.machine.looks.slice(from + 1).map((at, i) => at - (w.machine.looks[from + i] ?? 0));
    expect(gaps.slice(0, 5)).toEqual([5_000, 10_000, 20_000, 30_000, 30_000]);
    expect(w.machine.boots).toBe(1);
    w.machine.observeFails = undefined;
    await w.until(() => lastReason(w) !== "MachineUnreadable");
    expect(w.gateway.observed.at(-1)?.rebootRequired).toBe(true);
  });

  it("gives no verdict of a boot before it could look at the machine", async () => {
    const w = sentinel();
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === true);
    w.machine.before = (act) => {
      if (act.startsWith("reboot")) w.machine.observeFails = new Error("ended with 124");
    };
    w.gateway.give();
    await w.until(() => w.machine.boots === 2 && w.machine.agent?.connected === true);
    const from = w.machine.looks.length;
    await w.until(() => w.machine.looks.length > from + 5);
    expect(w.gateway.verdicts).toEqual([]);
    w.machine.observeFails = undefined;
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["StillRequired StillRequired"]);
    expect(w.machine.boots).toBe(2);
    expect(w.gateway.breaches).toEqual([]);
  });

  it("does not ask again for a marker that a reboot did not clear", async () => {
    const w = sentinel();
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === true);
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["StillRequired StillRequired"]);
    w.gateway.grant = undefined;
    w.gateway.drop();
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === false);
    expect(lastReason(w)).toBe("StillRequired");
    w.machine.marker = "/run/reboot-required of tomorrow";
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === true);
  });

  it("reboots without a marker where a person asked for it", async () => {
    const w = sentinel();
    w.machine.marker = undefined;
    await w.until(() => w.gateway.observed.at(-1)?.rebootRequired === false);
    w.gateway.policy.rebootAsked = true;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Rebooted Rebooted"]);
    expect(w.machine.boots).toBe(2);
    expect(w.gateway.breaches).toEqual([]);
  });
});

describe("a reboot that a person asked for, of a machine with slots", () => {
  it("leaves the boot entry alone, whatever lies staged, and arms no switch", async () => {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.machine.agent?.observed?.step === "Staged");
    const slots = structuredClone(w.machine.slots);
    w.gateway.desired.target = undefined;
    w.gateway.policy.rebootAsked = true;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Rebooted Rebooted"]);
    expect(w.machine.boots).toBe(2);
    expect(w.machine.running).toBe("A");
    expect(w.machine.slots).toEqual(slots);
    expect(w.machine.log.filter((line) => /flip|arm /.test(line))).toEqual([]);
    expect(w.gateway.breaches).toEqual([]);
  });

  it("does not happen where nobody asked and there is no target", async () => {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.machine.agent?.observed?.step === "Staged");
    w.gateway.desired.target = undefined;
    w.gateway.give();
    await w.until(() => over(w));
    expect(w.gateway.verdicts).toEqual(["Withdrawn NothingStaged"]);
    expect(w.machine.boots).toBe(1);
  });
});
