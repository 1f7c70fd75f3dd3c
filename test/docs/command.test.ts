/** Every command of ours in the pages is one that our own parsers take. */
import { describe, expect, test } from "vitest";
import {
  inlineCommands,
  namedInBlock,
  namedInBlocks,
  namedInline,
  shellWords,
  whyNotParsed,
} from "./command.ts";
import { PAGES } from "./page.ts";

test("a page's commands are found", () => {
  expect(inlineCommands("page", "`a b` and `kubectl slipway why NODE`, `slipway a | b`, `alone`")).toEqual([
    "a b",
    "kubectl slipway why NODE",
  ]);
  const text = `x=$(kubectl slipway machines secret edge) && slipway image \\
  build | tee\nhelm install slipway charts/slipway\n   kubectl slipway migrate fluo -f a > groups.yaml\n`;
  expect(namedInBlock({ text }).map((each) => [each.program, ...each.words])).toEqual([
    ["kubectl slipway", "machines", "secret", "edge)"],
    ["slipway", "image", "build"],
    ["kubectl slipway", "migrate", "fluo", "-f", "a"],
  ]);
  expect(shellWords(`a --b "c d" 'e f' "$(g "h i")" > j`)).toEqual(["a", "--b", "c d", "e f", `$(g "h i")`]);
});

describe("every command is parsed", () => {
  test.each(PAGES)("of %s", async (page) => {
    const found = [...namedInline(page), ...namedInBlocks(page)];
    const wrong = await Promise.all(
      found.map(async (each) => [each.text, await whyNotParsed(each)] as const),
    );
    expect(wrong.filter(([, why]) => why !== undefined)).toEqual([]);
  });

  test("and there are many", () => {
    expect(PAGES.flatMap(namedInline).length).toBeGreaterThan(50);
    expect(PAGES.flatMap(namedInBlocks).length).toBeGreaterThan(40);
  });

  test.each([
    ["kubectl slipway", "locks list", undefined],
    ["kubectl slipway", "locks status -o json", undefined],
    ["kubectl slipway", "locks steal", undefined],
    ["kubectl slipway", "locks steal NODE", /required option '--reason/],
    ["kubectl slipway", "locks lock GROUP --reason x", /missing required argument 'id'/],
    ["kubectl slipway", "locks list more", /too many arguments/],
    ["kubectl slipway", "why NODE --because x", /unknown option '--because'/],
    ["kubectl slipway", "rollout stop harbor", /./],
    ["kubectl slipway", "nothing", /unknown command 'nothing'/],
    ["slipway", "manager --help", undefined],
    ["slipway", "manager --etcd x --speed 3", /unknown option '--speed'/],
  ] as const)("%s %s", async (program, command, why) => {
    const said = await whyNotParsed({ program, words: command.split(" ") });
    if (why === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(why);
  });
});
