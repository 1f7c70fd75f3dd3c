import { expect, test } from "vitest";
import {
  assigning,
  pausing,
  promoting,
  quarantining,
  resuming,
  retrying,
  rollingBack,
} from "./consequences.ts";
import { channel, group, release } from "./fake-views.ts";

const counts = group("x").counts;

test("a pause says who waits and who ends", () => {
  expect(pausing(group("workers", { counts: { ...counts, inFlight: 2 } }))).toEqual([
    "Nothing new begins in workers: 6 machines that do not run the target yet will wait.",
    "2 machines are under way: what has committed to its reboot ends it, the rest gives its slot back.",
    "It binds as soon as the gateways have it, within seconds.",
  ]);
  expect(resuming(group("workers"))[0]).toBe(
    "workers goes on to r2 (2.0.0): 6 machines may begin, at most 2 down at a time.",
  );
});

test("a retry names those that stay out", () => {
  const failures = ["n1", "n2"].map((machine) => ({
    machine,
    release: "r2",
    reason: "",
    message: "",
    time: "",
  }));
  expect(retrying(group("workers", { failures })).slice(0, 2)).toEqual([
    "workers forgets 2 failures and tries r2 (2.0.0) on other machines, at most 2 down at a time.",
    "n1, n2 will not try it again.",
  ]);
});

test("a promotion says which groups move, which are paused, and what stays", () => {
  const stable = channel("stable", { architectures: [{ architecture: "arm64", release: "r0" }] });
  const groups = [group("a"), group("b", { paused: true }), group("c", { channel: "beta" })];
  expect(promoting(stable, release("r2"), groups)).toEqual([
    "Channel stable points at r2 (2.0.0) instead of r1.",
    "a, b move to it: 20 machines, stage by stage from the first.",
    "b is paused, and will not begin.",
    "arm64 stays at r0.",
  ]);
  expect(promoting(channel("empty"), release("r2"), groups)[1]).toBe("No group follows it: nothing moves.");
});

test("a roll back says what moves with it and what does not", () => {
  const channels = [channel("stable", { groups: ["a", "b"] })];
  expect(rollingBack(group("a"), "r1", channels).slice(1, 3)).toEqual([
    "Channel stable points at r1 from then on.",
    "b follows the channel too, and will not move back by this.",
  ]);
  expect(rollingBack(group("p", { channel: undefined }), "r1", channels)[1]).toBe("p is pinned to r1.");
});

test("a quarantine leaves alone what runs", () => {
  const sentences = quarantining(release("r2", { running: 1 }), [group("a"), group("b", { target: "r1" })]);
  expect(sentences.slice(1)).toEqual(["a stops.", "1 machine that runs it already is left alone."]);
});

test("an assignment names a few of many", () => {
  const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
  expect(assigning(names, "edge")[0]).toBe(
    "10 machines become part of edge: n0, n1, n2, n3, n4, n5, n6, n7 and 2 more.",
  );
});
