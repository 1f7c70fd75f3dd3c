/** Every reason that can stand in a node's status is explained, with a case in a test of this folder. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Reason, reasons } from "../../api/reasons.ts";

const folder = import.meta.dirname;
const own = "catalogue.test.ts";
const tests = readdirSync(folder)
  .filter((file) => file.endsWith(".test.ts") && file !== own)
  .map((file) => readFileSync(join(folder, file), "utf8"))
  .join("\n");

/** Reasons that are never why a node waits, and who says them. */
const ELSEWHERE: Partial<Record<Reason, string>> = {
  Accepted: "condition of every kind: nothing is wrong",
  UnknownTimeZone: "condition of a RebootWindow, which then opens for nobody",
  InvalidStart: "condition of a RebootWindow",
  InvalidExclusion: "condition of a RebootWindow",
  NeverOpens: "condition of a RebootWindow",
  RollingOut: "condition of an UpdateGroup: each of its nodes waits for something of its own",
  UpstreamAnswered: "condition of a Channel: nothing is wrong",
  UpstreamUnreachable: "condition of a Channel, whose nodes go on with the release that it points at",
  UpstreamRefused: "condition of a Channel",
  UpstreamInvalid: "condition of a Channel",
  UpstreamFollowed: "condition of a Channel: nothing is wrong",
  UpstreamCrowded: "condition and event of a Channel, which still follows",
  UpstreamOlder: "condition of a Channel",
  UpstreamDiffers: "condition of a Channel",
  UpstreamNotApplied: "condition of a Channel",
  NoTarget: "a group without a release: the plugin looks for what is missing, a Channel or a Release",
  NoNodes: "condition of an UpdateGroup that selects nobody",
  NotHalted: "condition of an UpdateGroup: nothing is wrong",
  NoConflict: "condition of an UpdateGroup: nothing is wrong",
  NoOtherCoordinator: "condition of an UpdateGroup: nothing is wrong",
  NoHookFailed: "condition of an UpdateGroup: nothing is wrong",
  NotQuarantined: "condition of a Release: nothing is wrong",
  NotificationFailed: "event of an UpdateGroup: nothing waits for its webhook",
  StagePassed: "event and notice of an UpdateGroup: the next stage opens",
  UpdateFailed: "failure of a machine without our agent, in the status of its group",
  MachinesNotServed: "what a gateway answers a machine without our agent, which no NodeUpdate stands for",
  RebootRequired: "what an agent reports; the manager says what the reboot waits for",
  Updated: "verdict of a boot; the manager says VerifyingBoot, then VerifyingRelease",
  Rebooted: "verdict of a boot; the manager says VerifyingRelease",
};

test.each(Object.keys(reasons) as Reason[])("%s", (reason) => {
  const explained = new RegExp(`situation: "${reason}"|\\["${reason}"[,\\]]|, "${reason}"[,\\]]`).test(tests);
  const elsewhere = ELSEWHERE[reason] !== undefined;
  expect(
    explained !== elsewhere,
    "give it a sentence in cli/explain/ and a case in a test there, or say above who says it; not both",
  ).toBe(true);
});
