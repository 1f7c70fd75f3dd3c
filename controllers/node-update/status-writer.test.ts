/** What of a node's way is written to the journal. The API server takes what it is given. */
import { expect, test } from "vitest";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { JournalEntry } from "../../coordination/records.ts";
import { silentLogger } from "../../ports/log.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { NOW, nodeUpdate } from "../fixtures.ts";
import type { NodeDecision } from "./decision.ts";
import { StatusWriter } from "./status-writer.ts";

test("that a person holds a node and lets it go, though it stays where it is; not what it waits for", async () => {
  const entries: JournalEntry[] = [];
  const append = (entry: JournalEntry) => Promise.resolve(void entries.push(entry));
  const events: string[] = [];
  const apply = ((_: unknown, object: object) => Promise.resolve(object)) as KubeClient["apply"];
  const writer = new StatusWriter({
    client: { apply } as KubeClient,
    coordination: { append },
    recorder: { record: (_, { reason }) => void events.push(reason) },
    clock: { now: () => NOW, monotonic: () => NOW, after: () => () => {} },
    log: silentLogger,
    onTransition: () => undefined,
  });
  let status: NodeUpdateStatus = { step: "Staged", reason: "WaitingForWindow", message: "No window." };
  const ways: Why[] = [
    { reason: "WaitingForTurn", message: "Others first." },
    { reason: "Held", message: "A person holds the node: its disk clicks." },
    { reason: "WaitingForTurn", message: "Others first." },
    { reason: "WaitingForWindow", message: "No window." },
  ];
  for (const why of ways) {
    const before = nodeUpdate("a", "g", undefined, status);
    status = { ...status, ...why };
    const decision: NodeDecision = { status, step: "Staged", why, act: { do: "none" }, again: undefined };
    await writer.write(before, decision, new AbortController().signal);
  }
  expect(entries.map(({ node, reason, message }) => [node, reason, message])).toEqual([
    ["a", "Held", "A person holds the node: its disk clicks."],
    ["a", "WaitingForTurn", "Others first."],
  ]);
  expect(events).toEqual([]);
});
