/** A node that fetches its image, or should. */

import { type Reason, reasons } from "../../api/reasons.ts";
import type { Snapshot } from "../snapshot.ts";
import { advise, commands, type Finding, finding } from "./finding.ts";
import type { Member } from "./subject.ts";
import { clause, span } from "./words.ts";

/** `now`: wall clock, ms. */
export function staging(member: Member, { releases }: Snapshot, now: number): Finding {
  const { name, update, group, target } = member;
  const { reason, message = "", progress = 0, since, running = "" } = update.status ?? {};
  const given = releases.find(({ metadata }) => metadata.name === update.spec.release) ?? target?.release;
  const to = given?.spec.version ?? "its image";
  const lasts = since === undefined ? "" : ` for ${span(now - Date.parse(since))}`;
  switch (reason) {
    case "Fetching":
      return finding(
        "Fetching",
        `runs ${running} and has been fetching ${to}${lasts}: ${progress} % are in its passive slot`,
        commands.group(group.metadata.name),
      );
    case "VerifyingImage":
      return finding(
        "VerifyingImage",
        `runs ${running} and reads ${to} back to verify it: ${progress} % are done`,
        commands.group(group.metadata.name),
      );
    case "StagingFailed":
      return finding(
        "StagingFailed",
        `runs ${running} and could not fetch ${to}${lasts}, and goes on trying: ${clause(message)}`,
        advise(
          `kubectl get release ${given?.metadata.name ?? ""} -o yaml`,
          "shows the mirrors; correct what they serve",
        ),
        commands.agentLogs(name),
      );
    case "ImageRefused":
      return finding(
        "ImageRefused",
        `keeps ${running}, because it refuses the image of ${to}: ${clause(message)}`,
        commands.agentLogs(name),
      );
    case "WaitingForTurn": {
      const { stageInWindow, transfer } = group.spec;
      const because = stageInWindow
        ? "its group fetches images in reboot windows only (spec.stageInWindow), and none is open"
        : transfer.concurrency === undefined
          ? clause(message)
          : `${transfer.concurrency} other nodes of its group may fetch at once (spec.transfer.concurrency)`;
      return finding(
        "WaitingForTurn",
        `runs ${running} and waits to fetch ${to}: ${because}`,
        commands.windows(group.metadata.name),
      );
    }
    case "BootNotGood":
    case "StateNotWritten":
    case "MachineUnreadable":
    case "WaitingForGateway":
      return finding(
        reason,
        `runs ${running} and does not fetch ${to} yet: ${clause(message)}`,
        commands.agentLogs(name),
      );
    default:
      return refused(member, to);
  }
}

/** What the agent, or the manager, said beside these. */
function refused({ name, update, group }: Member, to: string): Finding {
  const { reason = "", message = "", running = "" } = update.status ?? {};
  if (!Object.hasOwn(reasons, reason)) {
    return finding(
      "NotObservedYet",
      `runs ${running} and is about to fetch ${to}: ${clause(message)}`,
      commands.doctor,
    );
  }
  const known = reason as Reason;
  if (known === "DowngradeRefused") return downgradeRefused(name, group.metadata.name, running, message);
  return finding(
    known,
    `keeps ${running} and does not take ${to}: ${clause(message)}`,
    commands.agentLogs(name),
    commands.group(group.metadata.name),
  );
}

export function downgradeRefused(name: string, group: string, running: string, message: string): Finding {
  return finding(
    "DowngradeRefused",
    `keeps ${running}: ${clause(message)}`,
    advise(
      `kubectl slipway rollout rollback ${group} --node ${name}`,
      "lets the node go back, as a person's recorded permission",
    ),
  );
}
