/** Machines without our agent, as a console tells of them: in a recorded moment of their group. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Story } from "../../console/contract.ts";
import { explanationText } from "../why.ts";
import { adviceIsSound, recorded } from "./cases.ts";
import type { Explanation } from "./explain.ts";
import type { Situation } from "./finding.ts";
import { explainMachine } from "./machine.ts";

const ID = "fedcba9876543210fedcba9876543210";
const moment = recorded("window-closed");
const at = (ms: number): string => new Date(moment.now + ms).toISOString().replace(".000Z", "Z");

type Change = Partial<Omit<Story, "machine">> & { machine?: Partial<Story["machine"]> };

/** In group `calm`, seen five minutes ago, and offered nothing. */
function story({ machine, ...rest }: Change = {}): Story {
  return {
    machine: {
      ...{ uid: ID, name: "till-7", kind: "foreign", group: "calm", zone: "", version: "3815.2.0" },
      ...{ target: "", state: "Idle", reason: "", message: "", slot: false, protocol: "Omaha" },
      ...machine,
    },
    ...{
      now: machine?.message ?? "",
      next: "",
      slots: [],
      labels: {},
      lastSeen: at(-300_000),
      transitions: [],
      failed: [],
    },
    ...{ kubectl: "", asOf: at(0), ...rest },
  };
}

const told = (reason: string, message: string): Change => ({ machine: { reason, message } });

function explained(change: Change, id = ID): Explanation {
  return explainMachine(story(change), id, moment.snapshot, moment.now);
}

const cases: Record<string, { change: Change; situation: Situation; sentence: string; advice: string }> = {
  "its stage has not come": {
    change: told("WaitingForStage", "The open stages let in 10 % of the machines, and not yet this one."),
    situation: "WaitingForStage",
    sentence:
      "till-7 runs 3815.2.0 and waits for its stage: the open stages let in 10 % of the machines, and not yet this one.",
    advice: "kubectl slipway rollout status calm",
  },
  "its group is paused": {
    change: told("Paused", "group calm is paused"),
    situation: "Paused",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: group calm is paused.",
    advice: "kubectl slipway rollout resume calm",
  },
  "its group is halted": {
    change: told("FailureThresholdReached", "group calm is halted"),
    situation: "FailureThresholdReached",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: group calm is halted.",
    advice: "kubectl slipway rollout promote calm RELEASE",
  },
  "the release is quarantined": {
    change: told("ReleaseQuarantined", "release flatcar-1 is quarantined"),
    situation: "ReleaseQuarantined",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: release flatcar-1 is quarantined.",
    advice: "kubectl slipway rollout promote calm RELEASE",
  },
  "its group goes": {
    change: told("Deleting", "group calm is being deleted"),
    situation: "Deleting",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: group calm is being deleted.",
    advice: "kubectl describe updategroup calm",
  },
  "no window is open": {
    change: told("WaitingForWindow", "no reboot window of group calm is open"),
    situation: "WaitingForWindow",
    sentence: "till-7 runs 3815.2.0 and waits for a reboot window: no reboot window of group calm is open.",
    advice: "kubectl slipway windows next calm",
  },
  "a freeze holds": {
    change: told("ChangeFreeze", "a change freeze holds"),
    situation: "ChangeFreeze",
    sentence: "till-7 runs 3815.2.0 and waits out a change freeze: a change freeze holds.",
    advice: "kubectl get rebootwindows",
  },
  "the budget is full": {
    change: told("WaitingForBudget", "budget group/calm allows 1 unavailable and has 1: node-02"),
    situation: "WaitingForBudget",
    sentence:
      "till-7 runs 3815.2.0 and waits for room: budget group/calm allows 1 unavailable and has 1: node-02.",
    advice: "kubectl slipway locks list",
  },
  "a person has to look first": {
    change: told("MachinesUnconfirmed", "etcd lost which machines of group calm hold a slot"),
    situation: "MachinesUnconfirmed",
    sentence:
      "till-7 runs 3815.2.0 and waits for a person: etcd lost which machines of group calm hold a slot.",
    advice: "kubectl slipway machines confirm calm",
  },
  "the rate is used up": {
    change: told("WaitingForRate", "3 updates of 3 began within 60 s"),
    situation: "WaitingForRate",
    sentence: "till-7 runs 3815.2.0 and waits for the rate: 3 updates of 3 began within 60 s.",
    advice: "update_engine_client -check_for_update",
  },
  "too few are good on it yet": {
    change: told("WaitingForEvidence", "2 machines have the release and 0 are good on it"),
    situation: "WaitingForEvidence",
    sentence:
      "till-7 runs 3815.2.0 and waits for evidence: 2 machines have the release and 0 are good on it.",
    advice: "kubectl slipway rollout status calm",
  },
  "the gates have expired": {
    change: told("WaitingForGates", "group calm has a gate that expired 20 s ago"),
    situation: "WaitingForGates",
    sentence:
      "till-7 runs 3815.2.0 and can't be offered anything now: group calm has a gate that expired 20 s ago.",
    advice: "kubectl slipway doctor",
  },
  "machines like it are left out": {
    change: told(
      "OEMExcluded",
      "Its OEM is ami, which spec.machines.excludedOEMs of UpdateGroup calm names.",
    ),
    situation: "OEMExcluded",
    sentence:
      "till-7 runs 3815.2.0 and is offered nothing: its OEM is ami, which spec.machines.excludedOEMs of UpdateGroup calm names.",
    advice: "kubectl edit updategroup calm",
  },
  "others have its id": {
    change: told(
      "DuplicateMachineId",
      "Several machines call themselves x: a boot came back that another had replaced.",
    ),
    situation: "DuplicateMachineId",
    sentence:
      "till-7 runs 3815.2.0 and is offered nothing: several machines call themselves x: a boot came back that another had replaced.",
    advice: "rm /etc/machine-id && systemd-machine-id-setup",
  },
  "there is nothing for its architecture": {
    change: told("NoPayload", "There is no payload for arm64."),
    situation: "NoPayload",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: there is no payload for arm64.",
    advice: "kubectl get releases",
  },
  "the release failed on it": {
    change: {
      ...told("NeverAgain", "Release flatcar-9 failed on it with code 44."),
      failed: [
        {
          ...{ release: "flatcar-9", version: "", reason: "Failed", time: at(-3_600_000) },
          message: "It ended with the code 44 of Omaha.",
        },
      ],
    },
    situation: "NeverAgain",
    sentence: "till-7 runs 3815.2.0 and is offered nothing: Release flatcar-9 failed on it with code 44.",
    advice: `kubectl slipway machines retry calm ${ID} --reason "..."`,
  },
  "it runs what it should": {
    change: told("UpToDate", "It runs 3815.2.0; the target is 3815.2.0."),
    situation: "UpToDate",
    sentence: "till-7 runs 3815.2.0 and needs nothing: it runs 3815.2.0; the target is 3815.2.0.",
    advice: "kubectl slipway rollout status calm",
  },
  "it updates": {
    change: {
      machine: {
        ...{
          state: "Staging",
          target: "4230.2.1",
          since: at(-720_000),
          slot: true,
          reason: "WaitingForStage",
        },
        message: "It was offered flatcar-9 (Downloading).",
      },
    },
    situation: "Offered",
    sentence: `till-7 runs 3815.2.0 and updates to 4230.2.1, offered since ${at(-720_000)} (12m ago): it was offered flatcar-9 (Downloading).`,
    advice: `kubectl slipway machines steal calm ${ID} --reason "..."`,
  },
  "it asked for a slot and reboots": {
    change: {
      machine: { version: "", slot: true, state: "Rebooting", protocol: "FleetLock", since: at(-180_000) },
      grant: { phase: "FleetLock", since: at(-180_000), budgets: ["group/calm"] },
    },
    situation: "HoldsSlot",
    sentence: `till-7 holds a reboot slot since ${at(-180_000)} (3m ago), by FleetLock, and has not given it back.`,
    advice: "kubectl slipway locks list",
  },
  "why is not known": {
    change: {},
    situation: "NothingKnown",
    sentence: "till-7 runs 3815.2.0; why it was offered nothing is not known.",
    advice: "kubectl slipway rollout status calm",
  },
  "a newer gateway's reason": {
    change: told("Moonrise", "The moon is up."),
    situation: "NothingKnown",
    sentence: "till-7 runs 3815.2.0; why it was offered nothing is not known: the moon is up.",
    advice: "kubectl slipway rollout status calm",
  },
};

test.each(Object.entries(cases))("%s", (_, { change, situation, sentence, advice }) => {
  const explanation = explained(change);
  expect(explanation).toMatchObject({ name: "till-7", situation, sentence });
  expect(explanation.advice.map(({ command }) => command)).toContain(advice);
  adviceIsSound(explanation);
});

test("what it has staged is quarantined since, and a person may let it reboot nevertheless", () => {
  const message =
    "It was offered os-9 (Staged), which is quarantined since: it gets no slot to come up with it.";
  const staged = { state: "Staged", target: "9", since: at(-720_000), reason: "ReleaseQuarantined" } as const;
  const explain = (slot: boolean) => explained({ machine: { ...staged, message, slot } });
  expect(explain(false)).toMatchObject({
    situation: "ReleaseQuarantined",
    sentence: expect.stringContaining("it gets no slot to come up with it") as string,
  });
  adviceIsSound(explain(false));
  const commands = explain(false).advice.map(({ command }) => command);
  expect(commands).toContain(`kubectl slipway locks lock calm ${ID} --reason "..."`);
  expect(explain(true).situation).toBe("Offered");
});

test("the facts go from the manager to the machine, each with since when", () => {
  const { facts } = explained({
    ...told("Paused", "group calm is paused"),
    stale: "No answer: etcd gives none; this is the last known state.",
    failed: [
      { release: "flatcar-9", version: "", reason: "Failed", message: "Code 44.", time: at(-3_600_000) },
    ],
    transitions: Array.from({ length: 9 }, (_, n) => ({
      ...{ step: `E${n}`, time: at(-n * 1000), reason: "", message: "It told the event 3:1." },
    })),
  });
  const texts = facts.map(({ text }) => text);
  expect(texts[0]).toMatch(/^manager \S+ leads$/);
  expect(texts).toContainEqual(expect.stringMatching(/^UpdateGroup calm follows Channel calm/));
  expect(facts.slice(texts.findIndex((text) => text.startsWith("what the console knows")))).toEqual([
    { text: "what the console knows is old: no answer: etcd gives none; this is the last known state" },
    { text: `its machine id is ${ID}` },
    { text: "runs 3815.2.0" },
    { text: `asked last, by Omaha, at ${at(-300_000)} (5m ago)` },
    { text: "was told nothing new (Paused): group calm is paused" },
    { text: "failed on flatcar-9: code 44", since: at(-3_600_000) },
    ...[0, 1, 2, 3, 4].map((n) => ({ text: `E${n}: it told the event 3:1`, since: at(-n * 1000) })),
  ]);
});

test("of a holder it is told who took its slot", () => {
  const message = "It holds a slot, which a person took for it: repair.";
  const { facts } = explained({ machine: { version: "", slot: true, state: "Rebooting", message } });
  expect(facts.map(({ text }) => text)).toContain("it holds a slot, which a person took for it: repair");
});

test("where no manager leads, that is said first", () => {
  const { snapshot, now } = recorded("manager-away");
  const { situation, sentence } = explainMachine(story(told("Paused", "x")), ID, snapshot, now);
  expect(situation).toBe("ManagerAway");
  expect(sentence).toMatch(
    /^No manager has led since .*, till-7 runs 3815\.2\.0 and is offered nothing: x\.$/,
  );
});

test("a machine that names itself writes no line and no word of a command", () => {
  const words = fc.string({ unit: "binary" });
  const failed = { release: "r", version: "", reason: "Failed", message: "m", time: at(0) };
  const lines = (name: string, id: string, version: string): string[] => {
    const change = { ...told("NeverAgain", "m"), failed: [failed] };
    const machine = { ...change.machine, name, version };
    return explanationText(explained({ ...change, machine }, id), moment.now).split("\n");
  };
  const { length } = lines("a", "b", "c");
  fc.assert(
    fc.property(words, words, words, (name, id, version) => {
      fc.pre(name !== id && version !== "");
      const text = lines(name, id, version);
      expect(text).toHaveLength(length);
      expect(text.join("")).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
    }),
  );
  expect(lines("a", "x; rm -rf /", "1")).toContain(
    `  kubectl slipway machines retry calm 'x; rm -rf /' --reason "..."`,
  );
  expect(lines("a", "--all", "1")).toContain(`  kubectl slipway machines retry --reason "..." -- calm --all`);
});

test("says since when it is refused, where that is known, and of no machine that needs nothing", () => {
  const since = at(-3_600_000);
  const paused = explained({ machine: { reason: "Paused", message: "group calm is paused", since } });
  expect(paused.sentence).toBe(
    `till-7 runs 3815.2.0 and is offered nothing since ${since} (60m ago): group calm is paused.`,
  );
  expect(paused.facts).toContainEqual(expect.objectContaining({ since }));
  const current = explained({ machine: { reason: "UpToDate", message: "It runs 3815.2.0.", since } });
  expect(current.sentence).toBe("till-7 runs 3815.2.0 and needs nothing: it runs 3815.2.0.");
});
