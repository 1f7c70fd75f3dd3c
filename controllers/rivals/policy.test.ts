import { expect, test } from "vitest";
import { pod } from "../fixtures.ts";
import { Fleet, groupOf } from "../rollout/test-fleet.ts";
import { rivalCondition, rivalsAmong } from "./policy.ts";

test("kured counts where a Pod of it is not over", () => {
  const over = { ...pod("kured-2", "b"), status: { phase: "Failed" as const } };
  const pending = { ...pod("kured-3", "c"), spec: {} };
  expect([...rivalsAmong([pod("kured-1", "a"), over, pending])]).toEqual([["a", "kured"]]);
});

test("the condition names the nodes that both act on, three of them, and what to do", () => {
  const rivals = rivalsAmong(["e", "d", "c", "b", "x"].map((node) => pod(`kured-${node}`, node)));
  expect(rivalCondition(rivals, ["a"])).toEqual({
    type: "OtherCoordinator",
    status: "False",
    reason: "NoOtherCoordinator",
    message: "Nobody else was seen that reboots nodes of the group.",
  });
  const told = rivalCondition(rivals, ["a", "b", "c", "d", "e"]);
  expect(told).toMatchObject({ status: "True", reason: "OtherCoordinator" });
  expect(told.message).toMatch(/^kured runs on b, c, d and 1 more too: two coordinators.*migrate kured`/);
});

test("it becomes news of the group once it is so, and is not there before anybody looked", () => {
  const fleet = new Fleet(groupOf("pool"), 2);
  const types = (): string[] => fleet.group("pool").status?.conditions?.map(({ type }) => type) ?? [];
  const news = (): string[] =>
    fleet
      .reconcile()
      .events.filter(({ why }) => why.reason.endsWith("OtherCoordinator"))
      .map(({ why }) => why.message);
  expect(news()).toEqual([]);
  expect(types()).not.toContain("OtherCoordinator");
  fleet.rivals = new Map();
  expect(news()).toEqual([]);
  expect(types()).toContain("OtherCoordinator");
  fleet.rivals = new Map([["n1", "kured"]]);
  expect(news()).toEqual([expect.stringContaining("kured runs on n1 too")]);
  expect(news()).toEqual([]);
});
