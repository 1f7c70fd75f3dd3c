/** Writes what was decided of a node: its status, and of each new step a log line, an event and a line of the journal. */
import { nodeUpdate as kind, type NodeUpdate, type NodeUpdateStatus } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import type { NodeDecision } from "./decision.ts";

const FIELD_MANAGER = "slipway-node-update";

export interface StatusWriterDeps {
  client: KubeClient;
  coordination: Pick<Coordination, "append">;
  recorder: EventRecorder;
  clock: Clock;
  log: Logger;
  /** Counts what was decided, by step and reason. */
  onTransition: (step: string, why: Why) => void;
}

export class StatusWriter {
  readonly #deps: StatusWriterDeps;

  constructor(deps: StatusWriterDeps) {
    this.#deps = deps;
  }

  /**
   * The NodeUpdate with the status of `decision`. Compared by resourceVersion (`Conflict`):
   * a manager that was deposed must not undo what its follower wrote.
   */
  async write(nodeUpdate: NodeUpdate, decision: NodeDecision, signal: AbortSignal): Promise<NodeUpdate> {
    const { status, step, why } = decision;
    if (sameJson(nodeUpdate.status, status)) return nodeUpdate;
    const { client, recorder, log, onTransition } = this.#deps;
    const { name, uid, resourceVersion } = nodeUpdate.metadata;
    const known = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    const { apiVersion } = nodeUpdate;
    const body = { apiVersion, kind: kind.kind, metadata: { name, ...known }, status } as NodeUpdate;
    const stored = await client.apply<NodeUpdate>(kind, body, {
      fieldManager: FIELD_MANAGER,
      force: true,
      subresource: "status",
      signal,
    });
    const before: NodeUpdateStatus = nodeUpdate.status ?? {};
    if (before.step !== step || before.reason !== why.reason) {
      log.info("step", { node: name, step, reason: why.reason, why: why.message });
      onTransition(step, why);
      const matters = before.step !== step || status.grant !== undefined;
      if (matters) recorder.record(nodeUpdate, why, step);
      // What a person does to a node is written down, though it stays where it is.
      const person = [before.reason, why.reason].includes("Held");
      if (matters || person) await this.#journal(nodeUpdate, step, why);
    }
    return stored;
  }

  async #journal({ metadata, spec }: NodeUpdate, what: string, { reason, message }: Why): Promise<void> {
    const { coordination, clock, log } = this.#deps;
    const { name: node } = metadata;
    const uid = spec.nodeUID ?? spec.machineRef?.machineId ?? "";
    try {
      const { group } = spec;
      await coordination.append({ at: clock.now(), uid, node, group, what, reason, message });
    } catch (error) {
      log.error("a line of the journal was lost", error, { node });
    }
  }
}
