import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PolicySchema } from "../proto/gen/agent_pb.ts";
import { MemoryDisk } from "./fake-machine.ts";
import { type Act, freshMemory, type Memory } from "./memory.ts";
import { openState } from "./state.ts";

const SIZE = 64 * 1024;
const COPY = SIZE / 2;

const act: Act = {
  token: { incarnation: "i", revision: 2n ** 60n },
  target: { release: "r", version: "2.0.0", rootHash: "b" },
  policy: create(PolicySchema, {
    driver: "fastpatch",
    rateLimitBytesPerSecond: 5n,
    bootChecks: [{ name: "kubelet", check: { case: "unit", value: "kubelet.service" } }],
  }),
  step: "Flipped",
  bootAtCommit: { id: "x", softReboots: 1 },
  slot: "B",
  verdict: { verdict: "FellBack", reason: "BootChecksFailed", message: "m" },
  withdraw: { reason: "CommitExpired", message: "n" },
};

function numbered(floor: string): Memory {
  const memory = freshMemory();
  memory.machine.floor = floor;
  return memory;
}

describe("the agent's state", () => {
  it("is fresh on a disk of zeros", async () => {
    const state = await openState(new MemoryDisk(SIZE));
    expect(state.condition).toBe("fresh");
    expect(state.memory).toEqual(freshMemory());
  });

  it("comes back as it was written", async () => {
    const disk = new MemoryDisk(SIZE);
    const memory: Memory = { machine: { ...freshMemory().machine, good: ["a"], stillRequired: "x" }, act };
    await (await openState(disk)).write(memory);
    const again = await openState(disk);
    expect(again.memory).toEqual(memory);
    expect(again.condition).toBe("whole");
  });

  it("survives damage to either copy, and says so", async () => {
    for (const copy of [0, 1]) {
      const disk = new MemoryDisk(SIZE);
      await (await openState(disk)).write(numbered("2"));
      disk.bytes.fill(0xa5, copy * COPY, copy * COPY + 512);
      const state = await openState(disk);
      expect([state.memory.machine.floor, state.condition]).toEqual(["2", "torn"]);
      await state.write(numbered("3"));
      expect((await openState(disk)).condition).toBe("whole");
    }
  });

  it("starts fresh, and says that it was lost, where both copies are damaged", async () => {
    const disk = new MemoryDisk(SIZE);
    await (await openState(disk)).write({ machine: numbered("2").machine, act });
    disk.bytes.fill(0xa5);
    const state = await openState(disk);
    expect(state.condition).toBe("lost");
    expect(state.memory).toEqual(freshMemory());
  });

  it("refuses what does not fit, and keeps what it had", async () => {
    const disk = new MemoryDisk(16 * 1024);
    const state = await openState(disk);
    await state.write(numbered("2"));
    const large = numbered("3");
    large.machine.stillRequired = "x".repeat(8192);
    await expect(state.write(large)).rejects.toThrow("enlarge SLIPWAY-STATE");
    expect((await openState(disk)).memory.machine.floor).toBe("2");
  });

  it("is the old or the new memory, wherever the power is cut and whichever sectors were written", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 3 }),
        fc.infiniteStream(fc.boolean()),
        fc.integer({ min: 1, max: 4 }),
        async (cutAt, lands, before) => {
          const disk = new MemoryDisk(SIZE);
          for (let count = 1; count <= before; count++) {
            await (await openState(disk)).write({ machine: numbered(String(count)).machine, act });
          }
          const state = await openState(disk);
          let operation = 0;
          const { write, flush } = disk;
          disk.write = async (offset, data) => {
            if (operation++ < cutAt) return write(offset, data);
            for (let at = 0; at < data.length; at += 512) {
              if (lands.next().value) await write(offset + at, data.subarray(at, at + 512));
            }
            throw new Error("power");
          };
          disk.flush = async () => {
            if (operation++ >= cutAt) throw new Error("power");
            return flush();
          };
          const memory = numbered("new");
          await expect(state.write(memory)).rejects.toThrow("power");
          const { memory: found, condition } = await openState(disk);
          expect([String(before), "new"]).toContain(found.machine.floor);
          expect(condition).not.toBe("lost");
        },
      ),
    );
  });
});
