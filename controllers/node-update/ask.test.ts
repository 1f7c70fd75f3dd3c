/** How a hook asks a Node by a label, beside the cordon (design, rule 6). */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import type { Token } from "../../coordination/records.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import { node } from "../fixtures.ts";
import { answerOfLabel } from "../hooks/label.ts";
import { type Ask, cordonOf, planAsk, planCordon, planUnask, planUncordon } from "./cordon.ts";

const LABEL = "example.org/before-reboot";
const ANSWER = "example.org/ready";
const token = (revision: number): Token => ({ incarnation: "first", revision });
const ask = (run: string, more: Partial<Ask> = {}): Ask => ({
  run,
  label: LABEL,
  value: "true",
  answers: [ANSWER],
  ...more,
});

/** What the API server makes of the merge patch (RFC 7386). */
function applied(before: Node, patch: Patch | undefined): Node {
  if (patch === undefined) return before;
  const { metadata, spec } = patch.body as {
    metadata: { annotations: Record<string, string | null>; labels: Record<string, string | null> };
    spec: { unschedulable: true | null };
  };
  const merged = (old: Record<string, string> | undefined, changes: Record<string, string | null>) =>
    Object.fromEntries(
      Object.entries({ ...old, ...changes }).filter((entry): entry is [string, string] => entry[1] !== null),
    );
  return {
    ...before,
    metadata: {
      ...before.metadata,
      annotations: merged(before.metadata.annotations, metadata.annotations),
      labels: merged(before.metadata.labels, metadata.labels),
    },
    spec: spec.unschedulable === null ? {} : { unschedulable: true },
  };
}

function answered(before: Node, value: string, key = ANSWER): Node {
  return {
    ...before,
    metadata: { ...before.metadata, annotations: { ...before.metadata.annotations, [key]: value } },
  };
}

const cordoned = applied(node("a"), planCordon(node("a"), token(1)));
const label = { key: LABEL, value: "true", answers: [ANSWER], done: "true", failed: "false" };

test("a label that somebody took off or changed is set again, and what was answered meanwhile stays", () => {
  const run = "n/Before/a";
  const asked = applied(cordoned, planAsk(cordoned, token(1), ask(run)));
  const labelled = (labels: Record<string, string>): Node => ({
    ...asked,
    metadata: { ...asked.metadata, labels },
  });
  for (const changed of [labelled({}), labelled({ [LABEL]: "other" })]) {
    expect(answerOfLabel(changed, run, label)).toEqual({ kind: "unasked" });
    const again = applied(changed, planAsk(changed, token(1), ask(run)));
    expect(again.metadata.labels?.[LABEL]).toBe("true");
    expect(answerOfLabel(again, run, label)).toMatchObject({ kind: "pending" });
    expect(answerOfLabel(answered(changed, "true"), run, label)).toEqual({ kind: "done" });
    expect(answerOfLabel(answered(changed, "false"), run, label)).toMatchObject({ kind: "failed" });
  }
});

test("an answer from before is taken off, and one counts only under the run that asks", () => {
  const old = answered(cordoned, "true");
  expect(answerOfLabel(old, "n/Before/a", label)).toEqual({ kind: "unasked" });
  const asked = applied(old, planAsk(old, token(1), ask("n/Before/a")));
  expect(asked.metadata.labels?.[LABEL]).toBe("true");
  expect(answerOfLabel(asked, "n/Before/a", label)).toEqual({
    kind: "pending",
    message: `it waits for annotation ${ANSWER}`,
  });
  const done = answered(asked, "true");
  expect(answerOfLabel(done, "n/Before/a", label)).toEqual({ kind: "done" });
  expect(answerOfLabel(done, "n/Before/b", label)).toEqual({ kind: "unasked" });
  expect(answerOfLabel(answered(asked, "false"), "n/Before/a", label)).toEqual({
    kind: "failed",
    cause: `annotation ${ANSWER} says false`,
  });
  expect(answerOfLabel(answered(asked, "soon"), "n/Before/a", label)).toMatchObject({
    message: `it waits for annotation ${ANSWER} (it says soon)`,
  });
  expect(answerOfLabel(undefined, "n/Before/a", label)).toEqual({ kind: "unasked" });
});

test("all annotations must answer", () => {
  const two = { ...label, answers: [ANSWER, "example.org/other"] };
  const asked = applied(cordoned, planAsk(cordoned, token(1), ask("r", { answers: two.answers })));
  expect(answerOfLabel(answered(asked, "true"), "r", two)).toMatchObject({
    kind: "pending",
    message: "it waits for annotation example.org/other",
  });
  const all = answered(answered(asked, "true"), "true", "example.org/other");
  expect(answerOfLabel(all, "r", two)).toEqual({ kind: "done" });
});

test("a manager that asks once more takes no answer away, and sets a label again that somebody took off", () => {
  const asked = answered(applied(cordoned, planAsk(cordoned, token(1), ask("r"))), "true");
  expect(planAsk(asked, token(1), ask("r"))).toBeUndefined();
  const lifted: Node = { ...asked, metadata: { ...asked.metadata, labels: {} } };
  const again = applied(lifted, planAsk(lifted, token(1), ask("r")));
  expect(again.metadata.labels).toEqual({ [LABEL]: "true" });
  expect(again.metadata.annotations?.[ANSWER]).toBe("true");
});

test("the next hook's label takes the place of the one before", () => {
  const first = answered(applied(cordoned, planAsk(cordoned, token(1), ask("r1"))), "true");
  const other = ask("r2", { label: "example.org/other", answers: ["example.org/said"] });
  const next = applied(first, planAsk(first, token(1), other));
  expect(next.metadata.labels).toEqual({ "example.org/other": "true" });
  expect(next.metadata.annotations?.[ANSWER]).toBeUndefined();
  expect(next.spec?.unschedulable).toBe(true);
});

test("a new cordon keeps what a hook left, until somebody takes it back", () => {
  const orphan = applied(cordoned, planAsk(cordoned, token(1), ask("r1")));
  const next = applied(orphan, planCordon(orphan, token(2)));
  expect(cordonOf(next)).toMatchObject({ token: token(2), ask: { run: "r1" } });
  expect(applied(next, planUncordon(next, [])).metadata).toMatchObject({ labels: {}, annotations: {} });
});

test("a node that was uncordoned early can be asked, and stays as it is", () => {
  const open = node("a");
  const asked = applied(open, planAsk(open, token(1), ask("n/After/a")));
  expect(asked.spec?.unschedulable).toBeUndefined();
  const after = applied(asked, planUncordon(asked, []));
  expect(after.spec?.unschedulable).toBeUndefined();
  expect(after.metadata).toMatchObject({ labels: {}, annotations: {} });
});

test("through grants, hooks, crashes and restarts a node ends as its people left it (rule 6)", () => {
  const moves = fc.array(fc.constantFrom("grant", "ask", "other", "unask", "answer", "end", "crash"), {
    maxLength: 25,
  });
  const theirs = fc.constantFrom<Record<string, string>>({}, { [LABEL]: "theirs" }, { [LABEL]: "true" });
  fc.assert(
    fc.property(fc.boolean(), theirs, moves, (isCordoned, labels, list) => {
      let state = node("a", { cordoned: isCordoned, labels });
      let revision = 1;
      let run = 0;
      state = applied(state, planCordon(state, token(revision)));
      for (const move of list) {
        if (move === "grant") state = applied(state, planCordon(state, token(++revision)));
        else if (move === "ask" || move === "other") {
          const key = move === "ask" ? LABEL : "example.org/other";
          state = applied(state, planAsk(state, token(revision), ask(`run-${++run}`, { label: key })));
          expect(answerOfLabel(state, `run-${run}`, { ...label, key }).kind).toBe("pending");
        } else if (move === "unask") state = applied(state, planUnask(state));
        else if (move === "answer" && cordonOf(state)?.ask !== undefined) state = answered(state, "true");
        else if (move === "end") state = applied(state, planUncordon(state, []));
      }
      state = applied(state, planUncordon(state, []));
      expect(state.spec?.unschedulable === true).toBe(isCordoned);
      expect(state.metadata.labels).toEqual(labels);
      expect(state.metadata.annotations?.[CORDON_ANNOTATION]).toBeUndefined();
      expect(state.metadata.annotations?.[ANSWER]).toBeUndefined();
    }),
  );
});
