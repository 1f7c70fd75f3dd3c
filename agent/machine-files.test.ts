import { describe, expect, it } from "vitest";
import { bootSlotOf, versionOf } from "./machine-files.ts";

const guid = "7130c94a-213a-4e5a-8e26-6cce9662f132";

describe("the kernel command line", () => {
  it("names the slot, as we or as Flatcar write it", () => {
    expect(bootSlotOf(`console=ttyS0 slipway.slot=${guid.toUpperCase()} quiet\n`)).toBe(guid);
    expect(bootSlotOf(`verity.usr=PARTUUID=${guid}`)).toBe(guid);
    expect(bootSlotOf(`mount.usr=/dev/mapper/usr mount.usr=PARTUUID=${guid}`)).toBe(guid);
  });

  it("without a slot says what to do", () => {
    expect(() => bootSlotOf("root=/dev/sda1")).toThrow("give --boot-slot");
  });
});

describe("os-release", () => {
  it("has a version, quoted or not, or none", () => {
    expect(versionOf('NAME=Harbor\nVERSION_ID="4081.2.0"\n')).toBe("4081.2.0");
    expect(versionOf("VERSION_ID=1.0.0")).toBe("1.0.0");
    expect(versionOf("ID=arch")).toBe("");
  });
});
