import { expect, test } from "vitest";
import { commands } from "./commands.ts";

test("a name is a word of the command and no more of it, whoever wrote it into the address", () => {
  expect(commands.machines("web")).toBe("kubectl get nodeupdates -l slipway.dev/group=web");
  expect(commands.machines("$(a)'b")).toBe(
    String.raw`kubectl get nodeupdates -l 'slipway.dev/group=$(a)'\''b'`,
  );
  expect(commands.machinesWith("zone", ["a", "it's"])).toBe(
    String.raw`kubectl get nodeupdates --no-headers -o custom-columns=V:.status.zone | grep -cxE 'a|it'\''s'`,
  );
  expect(commands.foreign("web", "1 0")).toBe(
    "kubectl slipway machines --kind foreign --group web --running '1 0'",
  );
});
