import { execFileSync } from "node:child_process";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { machineCommands, word } from "./commands.ts";

test("a word is one argument for a shell, whatever is in it", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "-", "=", " ", "'", '"', "$", "`", ";", "\n", "\\", "*", "é"),
  });
  const [texts = []] = fc.sample(fc.array(text, { minLength: 200, maxLength: 200 }), 1);
  const all = ["", "web", "a=b", ...texts];
  const said = execFileSync("sh", ["-c", `printf '%s\\0' ${all.map(word).join(" ")}`], { encoding: "utf8" });
  expect(said.split("\0").slice(0, -1)).toEqual(all);
  expect([word(""), word("web")]).toEqual(["''", "web"]);
});

test("machines of a group are listed with its name as one word", () => {
  expect(machineCommands.withAgent()).toBe("kubectl get nodeupdates");
  expect(machineCommands.withAgent("a;b")).toBe("kubectl get nodeupdates -l 'slipway.dev/group=a;b'");
  expect(machineCommands.foreign()).toBe("kubectl slipway machines --kind foreign");
  expect(machineCommands.foreign("$(a)", "1.0.0")).toBe(
    "kubectl slipway machines --kind foreign --group '$(a)' --running 1.0.0",
  );
  expect(machineCommands.foreign("", "")).toBe(
    "kubectl slipway machines --kind foreign --group '' --running ''",
  );
});
