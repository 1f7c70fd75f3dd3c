/**
 * What an agent does next: a pure function of one situation, called again after each act.
 * It remembers nothing, so that a crash after any act ends in the same place.
 */
import type { Decision } from "./decision.ts";
import { bootDecision, learn, recovery } from "./policy-boot.ts";
import { beforeReboot, takeGrant } from "./policy-commit.ts";
import { stage } from "./policy-stage.ts";
import { bootIsGood, judge, type Situation, why } from "./situation.ts";

export function decide(situation: Situation): Decision {
  const { memory, boot, machine, run } = situation;
  const { act } = memory;
  if (act !== null) {
    const evidence = judge(act, boot, machine);
    return evidence === "Before" ? beforeReboot(situation, act) : bootDecision(situation, act, evidence);
  }
  if (machine.kind === "slots") {
    if (!bootIsGood(machine)) return recovery(situation, machine);
    if (run.switch !== "disarmed") {
      const message = "No reboot is under way; the dead man's switch is put at rest.";
      return { step: "Idle", why: why("Current", message), next: { kind: "Disarm" } };
    }
  }
  return learn(situation) ?? takeGrant(situation) ?? stage(situation);
}
