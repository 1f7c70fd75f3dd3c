/** Nodes that no rollout reaches, and slots that a person frees: recorded moments, changed. */
import { expect, test } from "vitest";
import { adviceIsSound, all, type Case, explained, group, steal, update } from "./cases.ts";

const cases: Record<string, Case> = {
  "no agent has reported yet": {
    file: "window-closed",
    change: (moment) => {
      update(moment).status = {
        step: "Idle",
        reason: "WaitingForAgent",
        message: "No agent of this node has reported yet.",
        connected: false,
      };
    },
    situation: "WaitingForAgent",
    sentence: "node-01 waits for its agent: none has reported from there yet.",
  },
  "one group selects it, and there is no NodeUpdate yet": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.nodeUpdates = [];
    },
    situation: "NotMadeYet",
    sentence: "node-01 was selected by UpdateGroup calm, and its NodeUpdate has not been made yet.",
  },
  "two groups select it, and there is no NodeUpdate": {
    file: "two-groups",
    change: (moment) => {
      moment.snapshot.nodeUpdates = [];
    },
    situation: "SelectedTwice",
    sentence: "node-11 is selected by 2 UpdateGroups, next and twice, so none of them acts on it.",
  },
  "the group can't be acted on": {
    file: "window-closed",
    change: (moment) => {
      group(moment).status = {
        conditions: [
          {
            type: "Accepted",
            status: "False",
            reason: "InvalidSpec",
            message: "spec.stages[1].count must be larger than the one before.",
            lastTransitionTime: "2026-01-05T11:00:00Z",
          },
        ],
      };
    },
    situation: "InvalidSpec",
    sentence:
      "node-01 keeps what it runs, because UpdateGroup calm can't be acted on: spec.stages[1].count must be larger than the one before.",
  },
  "the group is being deleted": {
    file: "window-closed",
    change: (moment) => {
      group(moment).metadata.deletionTimestamp = "2026-01-05T11:59:00Z";
    },
    situation: "NoGroup",
    sentence: "node-01 leaves UpdateGroup calm, which selects it no longer, and no other does.",
  },
  "the group of a plain machine is gone": {
    file: "plain-machine-soaks",
    change: (moment) => {
      moment.snapshot.groups = [];
    },
    situation: "Deleting",
    sentence: "machine-c889b63b37f8 keeps what it runs, because UpdateGroup stages does not exist any more.",
  },
  "the group is gone and the node Suspect": {
    file: "suspect",
    change: (moment) => {
      moment.snapshot.groups = [];
    },
    situation: "Suspect",
    sentence:
      "node-09 is Suspect since 2026-01-05T11:59:59Z (1s ago): it has not come back from its reboot, and its slot stays taken until it returns or somebody frees it; its UpdateGroup is gone, and waits for it no longer.",
  },
  "its labels were changed": {
    file: "window-closed",
    change: (moment) => {
      for (const { metadata } of moment.snapshot.nodes) metadata.labels = {};
    },
    situation: "NoGroup",
    sentence: "node-01 leaves UpdateGroup calm, which selects it no longer, and no other does.",
  },
  "another group takes it over": {
    file: "two-groups",
    change: (moment) => {
      moment.snapshot.groups = moment.snapshot.groups.filter(({ metadata }) => metadata.name === "twice");
    },
    situation: "NotObservedYet",
    sentence: "node-11 moves from UpdateGroup next to twice, which is the only one that selects it.",
  },
  "the Node is gone": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.nodes = [];
    },
    situation: "NodeGone",
    sentence:
      "node-01 stands for a Node that does not exist any more, so its NodeUpdate goes too: it holds no slot.",
  },
  "the Node was made anew": {
    file: "window-closed",
    change: (moment) => {
      for (const { metadata } of moment.snapshot.nodes) metadata.uid = "another";
    },
    situation: "NodeGone",
    sentence:
      "node-01 stands for a Node that does not exist any more, so its NodeUpdate goes too: it holds no slot.",
  },
  "a Suspect with a holderTTL": {
    file: "suspect",
    change: (moment) => {
      const policy = update(moment).status?.grant?.policy;
      if (policy !== undefined) policy.holderTTL = "2h";
    },
    situation: "Suspect",
    sentence:
      "node-09 is Suspect since 2026-01-05T11:59:59Z (1s ago): it has not come back from its reboot, and its slot is freed at 2026-01-05T13:59:59Z (in 119m), by the group's holderTTL.",
  },
  "a steal that the manager has not done yet": {
    file: "suspect",
    change: steal("its power supply burnt"),
    situation: "StealAsked",
    sentence: "node-09 is about to lose its slot, because a person asked to free it: its power supply burnt.",
  },
  "a steal that names another grant": {
    file: "suspect",
    change: steal("again (grant of-before)"),
    situation: "Suspect",
    sentence:
      "node-09 is Suspect since 2026-01-05T11:59:59Z (1s ago): it has not come back from its reboot, and its slot stays taken until it returns or somebody frees it.",
  },
  "a steal whose word was used before": {
    file: "suspect",
    change: all(steal("again"), (moment) => {
      const { status } = update(moment);
      if (status !== undefined) status.stolen = "again";
    }),
    situation: "Suspect",
    sentence:
      "node-09 is Suspect since 2026-01-05T11:59:59Z (1s ago): it has not come back from its reboot, and its slot stays taken until it returns or somebody frees it.",
  },
};

test.each(Object.entries(cases))("%s", (_name, one) => {
  const found = explained(one);
  expect(found?.sentence).toBe(one.sentence);
  expect(found?.situation).toBe(one.situation);
  adviceIsSound(found);
});
