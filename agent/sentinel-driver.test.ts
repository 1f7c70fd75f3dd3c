import { expect, test } from "vitest";
import { sentinelDriver } from "./sentinel-driver.ts";

function look(ends: () => Promise<number>) {
  return sentinelDriver({ command: "needs-reboot" }, { runCommand: ends }).observe();
}

test("a command asks for a reboot with 0 and for none with 1", async () => {
  expect(await look(async () => 0)).toEqual({ kind: "sentinel", marker: "command needs-reboot" });
  expect(await look(async () => 1)).toEqual({ kind: "sentinel", marker: undefined });
});

test.each([2, 124, 126, 127, 128, 137, 255])("a command that ends with %i says nothing", async (code) => {
  await expect(look(async () => code)).rejects.toThrow(`ended with ${code}`);
});

test("a command that can't be run says nothing", async () => {
  await expect(
    look(async () => {
      throw new Error("not on this machine's allow list");
    }),
  ).rejects.toThrow("allow list");
});
