/** What the board says of a node that holds no slot. */
import type { Step } from "../../api/node-update.ts";
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import type { NodeView } from "./decision.ts";
import { isReady, type Wanted, wantedOf } from "./target.ts";

interface Idle {
  step: Step;
  why: Why;
  /** Percent. */
  progress?: number;
}

export function idleStep(view: NodeView): Idle {
  const { nodeUpdate, group, releases, observed, present, waiting } = view;
  if (view.request !== undefined) {
    const message = `Its own client asks for a reboot, by ${view.request.protocol}.`;
    return { step: "Staged", why: waiting ?? { reason: "RebootRequested", message } };
  }
  const wanted = wantedOf(nodeUpdate, group, releases, observed);
  if (observed !== undefined && !present) {
    const message = "The agent's session ended and it has not come back.";
    return { step: isReady(wanted, observed) ? "Staged" : "Idle", why: { reason: "AgentLost", message } };
  }
  if (wanted.kind === "nothing" || observed === undefined) return nothing(wanted, observed);
  if (isReady(wanted, observed)) {
    const asked = wanted.kind === "reboot" ? wanted.asked : undefined;
    const next: Why =
      asked === undefined
        ? { reason: "WaitingForTurn", message: "It is ready and asks for a slot next." }
        : { reason: "RebootAsked", message: `A person asked for a reboot: ${asked || "no reason given"}.` };
    const why = waiting ?? next;
    return { step: "Staged", why };
  }
  return staging(observed, view.mayStage);
}

function nothing(wanted: Wanted, observed: Observed | undefined): Idle {
  if (wanted.kind !== "nothing") {
    return {
      step: "Idle",
      why: { reason: "WaitingForAgent", message: "No agent of this node has reported yet." },
    };
  }
  const { step, why } = wanted;
  const told = why.reason === "NoRebootRequired" ? reasonOf(observed) : undefined;
  if (told?.reason === "StillRequired") return { step: "Failed", why: told };
  if (told?.reason === "MachineUnreadable") return { step, why: told };
  return { step, why };
}

function staging(observed: Observed, mayStage: boolean): Idle {
  const { step, doneBytes, totalBytes } = observed;
  const progress = totalBytes > 0n ? Math.min(100, Number((doneBytes * 100n) / totalBytes)) : 0;
  const told = reasonOf(observed);
  if (step === "Fetching" || step === "Verifying") {
    const reason: Reason = step === "Fetching" ? "Fetching" : "VerifyingImage";
    return {
      step: "Staging",
      why: { reason, message: `${observed.message} ${progress} %.`.trim() },
      progress,
    };
  }
  if (!mayStage) {
    const message = "The group's window, pause or transfer limit lets no image be fetched here now.";
    return { step: "Staging", why: { reason: "WaitingForTurn", message } };
  }
  if (step === "Failed")
    return { step: "Failed", why: told ?? { reason: "NeverAgain", message: observed.message } };
  const unsaid: readonly Reason[] = ["Current", "NoTarget", "WaitingForStage"];
  if (told !== undefined && !unsaid.includes(told.reason)) return { step: "Staging", why: told, progress };
  return {
    step: "Staging",
    why: { reason: "Fetching", message: "The agent was told of the image and begins." },
  };
}

/** What the agent said, if it is a reason that we know. */
export function reasonOf(observed: Pick<Observed, "reason" | "message"> | undefined): Why | undefined {
  if (observed === undefined || !Object.hasOwn(reasons, observed.reason)) return undefined;
  return { reason: observed.reason as Reason, message: observed.message };
}
