/** Which release is to blame for a halt (rule 8). */
import { expect, test } from "vitest";
import { QUARANTINE_ANNOTATION, RESUME_ANNOTATION, WITHHELD_ANNOTATION } from "../../api/labels.ts";
import { decideRelease } from "../release/policy.ts";
import { failuresOf } from "./failure.ts";
import type { Member } from "./member.ts";
import { channelOf, Fleet, groupOf, MINUTE, releaseOf } from "./test-fleet.ts";

function quarantined(fleet: Fleet): string[] {
  return fleet.releases
    .filter((release) =>
      decideRelease(release, fleet.nodeUpdates, fleet.groups, fleet.now).conditions?.some(
        ({ type, status }) => type === "Quarantined" && status === "True",
      ),
    )
    .map(({ metadata }) => metadata.name);
}

function halted(fleet: Fleet, name: string): boolean {
  const conditions = fleet.group(name).status?.conditions;
  return conditions?.some(({ type, status }) => type === "Halted" && status === "True") === true;
}

function fail(fleet: Fleet, ...nodes: string[]): void {
  for (const name of nodes) {
    fleet.grant(name);
    fleet.fail(name);
  }
  fleet.reconcile();
  fleet.reconcile();
}

/** `web` follows a channel whose target is os-3, and for its nodes' architecture os-2. */
function ofArchitectures(): Fleet {
  const fleet = new Fleet(groupOf("web"), 3);
  fleet.releases.push(releaseOf("os-3", "3.0.0"));
  fleet.channels = [channelOf("os-3", { architectures: [{ architecture: "amd64", release: "os-2" }] })];
  fleet.groups.push(groupOf("db", { release: "os-2" }), groupOf("ops", { release: "os-3" }), groupOf("mix"));
  fleet.reconcile();
  return fleet;
}

test("the release of an architecture is, and the channel's own, which ran nowhere, is not", () => {
  const fleet = ofArchitectures();
  fail(fleet, "n1", "n2");
  expect(halted(fleet, "web")).toBe(true);
  expect(quarantined(fleet)).toEqual(["os-2"]);
  for (const pool of ["db", "ops", "mix"]) fleet.addNode(`${pool}1`, pool);
  fleet.reconcile();
  fleet.reconcile();
  expect(fleet.given("os-2")).toEqual([]);
  expect(fleet.given("os-3")).toEqual(["ops1"]);
  expect(fleet.update("mix1").metadata.annotations?.[WITHHELD_ANNOTATION]).toContain("ReleaseQuarantined");
});

test("a node that runs what was quarantined since keeps it, and nothing is withheld from it", () => {
  const fleet = ofArchitectures();
  fleet.addNode("mix1", "mix");
  fleet.reconcile();
  fleet.grant("mix1");
  fleet.succeed("mix1");
  fail(fleet, "n1", "n2");
  expect(quarantined(fleet)).toEqual(["os-2"]);
  expect(fleet.update("mix1").spec.release).toBe("os-2");
  expect(fleet.update("mix1").metadata.annotations?.[WITHHELD_ANNOTATION]).toBeUndefined();
});

test("one failure in the first stage is enough, and a resume clears the release", () => {
  const stages = [{ name: "canary", count: 1, soak: "0s" }];
  const fleet = new Fleet(groupOf("web", { stages }), 3);
  fleet.reconcile();
  const [canary = ""] = fleet.given("os-2");
  fail(fleet, canary);
  expect(quarantined(fleet)).toEqual(["os-2"]);
  fleet.now += MINUTE;
  fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: "the rack was on fire" } });
  fleet.reconcile();
  expect(halted(fleet, "web")).toBe(false);
  expect(quarantined(fleet)).toEqual([]);
});

test("a stepping stone is, and not the target behind it: who is past the stone goes on", () => {
  const fleet = new Fleet(groupOf("web"), 2);
  fleet.releases = [
    releaseOf("os-1", "1.0.0"),
    releaseOf("os-2", "2.0.0", { steppingStone: true }),
    releaseOf("os-3", "3.0.0"),
  ];
  fleet.channels = [channelOf("os-3")];
  fleet.groups.push(groupOf("db"));
  for (const name of ["db1", "db2"]) fleet.addNode(name, "db");
  fleet.reconcile();
  fleet.reconcile();
  expect(fleet.given("os-2")).toEqual(["db1", "db2", "n1", "n2"]);
  fleet.grant("db1");
  fleet.succeed("db1");
  fail(fleet, "n1", "n2");
  expect(halted(fleet, "web")).toBe(true);
  expect(quarantined(fleet)).toEqual(["os-2"]);
  expect(fleet.given("os-2")).toEqual([]);
  expect(fleet.given("os-3")).toEqual(["db1"]);
});

test("where both failed, both are; and a status that can't show all failures shows one of each release", () => {
  const releases = [releaseOf("os-2", "2.0.0"), releaseOf("os-3", "3.0.0")];
  const at = (index: number): string => new Date(Date.UTC(2026, 10, 23, 0, index)).toISOString();
  const remembered = Array.from({ length: 60 }, (_, index) => ({
    node: `n${index}`,
    release: index === 0 ? "os-2" : "os-3",
    reason: "FellBack",
    message: "",
    time: at(index),
  }));
  const members: Member[] = [];
  const resume = { resumed: undefined, at: undefined, fresh: false };
  const { list, count } = failuresOf(members, releases, [], 0, remembered, resume);
  expect(count).toBe(60);
  expect(list).toHaveLength(50);
  expect(list[0]?.node).toBe("n59");
  expect(new Set(list.map(({ release }) => release))).toEqual(new Set(["os-2", "os-3"]));
});

test("a person's word is enough: nothing is given until it is taken back", () => {
  const fleet = new Fleet(groupOf("web"), 2);
  const target = fleet.releases.find(({ metadata }) => metadata.name === "os-2");
  if (target === undefined) throw new Error("the fleet has no os-2");
  target.metadata.annotations = { [QUARANTINE_ANNOTATION]: "it eats disks (by alice)" };
  fleet.reconcile();
  expect(quarantined(fleet)).toEqual(["os-2"]);
  expect(fleet.given("os-2")).toEqual([]);
  const conditions = fleet.group("web").status?.conditions;
  expect(conditions?.find(({ type }) => type === "Progressing")).toMatchObject({
    reason: "ReleaseQuarantined",
    message: expect.stringContaining("because a person said so: it eats disks (by alice)") as string,
  });
  target.metadata.annotations = {};
  fleet.reconcile();
  expect(quarantined(fleet)).toEqual([]);
  expect(fleet.given("os-2")).toEqual(["n1", "n2"]);
});
