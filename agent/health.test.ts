import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { HealthCheckSchema } from "../proto/gen/agent_pb.ts";
import { FakeClock } from "./fake-clock.ts";
import { runChecks } from "./health.ts";
import type { Host } from "./host.ts";

const host = {
  unitActive: async (unit: string) => unit === "kubelet.service",
  runCommand: async (name: string) => {
    if (name === "unknown") throw new Error("not on the list");
    return name === "ok" ? 0 : 1;
  },
  httpOk: () => new Promise<boolean>(() => {}),
} as unknown as Host;

const check = (name: string, what: "unit" | "http" | "command", value: string, timeoutSeconds = 0) =>
  create(HealthCheckSchema, { name, check: { case: what, value }, timeoutSeconds });

describe("a round of boot checks", () => {
  it("names what failed, could not be asked, or is no check at all", async () => {
    const checks = [
      check("a", "unit", "kubelet.service"),
      check("b", "unit", "crio.service"),
      check("c", "command", "ok"),
      check("d", "command", "unknown"),
      create(HealthCheckSchema, { name: "e" }),
    ];
    expect(await runChecks(host, new FakeClock(), checks, 60_000)).toEqual(["b", "d", "e"]);
  });

  it("waits for an answer as long as the check allows, and not beyond the deadline", async () => {
    for (const [until, ends] of [
      [60_000, 3_000],
      [2_000, 2_000],
    ] as const) {
      const clock = new FakeClock();
      let failing: string[] | undefined;
      const round = async (): Promise<void> => {
        failing = await runChecks(host, clock, [check("slow", "http", "http://x/", 3)], until);
      };
      void round();
      await clock.advance(60_000, () => failing !== undefined);
      expect(failing).toEqual(["slow"]);
      expect(clock.monotonic()).toBe(ends);
    }
  });
});
