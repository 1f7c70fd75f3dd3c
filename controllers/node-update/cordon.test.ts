import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CORDON_ANNOTATION, EXCLUDE_LABEL } from "../../api/labels.ts";
import type { Token } from "../../coordination/records.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import { node } from "../fixtures.ts";
import { cordonOf, planCordon, planUncordon } from "./cordon.ts";

const token = (revision: number): Token => ({ incarnation: "first", revision });

/** What the API server makes of the merge patch (RFC 7386). */
function applied(before: Node, patch: Patch | undefined): Node {
  if (patch === undefined) return before;
  const body = patch.body as {
    metadata: {
      resourceVersion: string;
      annotations: Record<string, string | null>;
      labels: Record<string, string | null>;
    };
    spec: { unschedulable: true | null };
  };
  expect(body.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
  const merged = (old: Record<string, string> | undefined, changes: Record<string, string | null>) => {
    const kept = Object.entries({ ...old, ...changes }).filter((entry) => entry[1] !== null);
    return Object.fromEntries(kept) as Record<string, string>;
  };
  const annotations = merged(before.metadata.annotations, body.metadata.annotations);
  const labels = merged(before.metadata.labels, body.metadata.labels);
  const spec = body.spec.unschedulable === null ? {} : { unschedulable: true };
  const resourceVersion = String(Number(before.metadata.resourceVersion) + 1);
  return { ...before, metadata: { ...before.metadata, annotations, labels, resourceVersion }, spec };
}

const isCordoned = ({ spec }: Node): boolean => spec?.unschedulable === true;

test("our cordon is undone, one from before ours is kept", () => {
  for (const cordoned of [false, true]) {
    const before = node("a", { cordoned });
    const ours = applied(before, planCordon(before, token(1)));
    expect(isCordoned(ours)).toBe(true);
    const after = applied(ours, planUncordon(ours, []));
    expect(isCordoned(after)).toBe(cordoned);
    expect(after.metadata.annotations).toEqual({});
  }
});

test("what a living grant cordoned is left alone, and so is what we can't read", () => {
  const ours = applied(node("a"), planCordon(node("a"), token(1)));
  expect(planUncordon(ours, [token(1)])).toBeUndefined();
  expect(planUncordon(node("a", { cordoned: true }), [])).toBeUndefined();
  const strange = node("a", { cordoned: true });
  strange.metadata.annotations = { [CORDON_ANNOTATION]: "mine" };
  expect(planUncordon(strange, [])).toBeUndefined();
});

test("a cordon that somebody lifted during the drain is set again, and remembers what stood before", () => {
  const ours = applied(node("a", { cordoned: true }), planCordon(node("a", { cordoned: true }), token(1)));
  const lifted: Node = { ...ours, spec: {} };
  const again = applied(lifted, planCordon(lifted, token(1)));
  expect(isCordoned(again)).toBe(true);
  expect(isCordoned(applied(again, planUncordon(again, [])))).toBe(true);
});

test("a label that somebody takes off during the drain is set again, and the wait does not begin anew", () => {
  const ours = applied(node("a"), planCordon(node("a"), token(1), 1000));
  const lifted: Node = { ...ours, metadata: { ...ours.metadata, labels: {} } };
  const again = applied(lifted, planCordon(lifted, token(1), 9000));
  expect(again.metadata.labels).toEqual({ [EXCLUDE_LABEL]: "" });
  expect(cordonOf(again)).toMatchObject({ excluded: false, excludedAt: 1000 });
});

test("through grants, crashes and restarts a node ends as its people left it (rule 6)", () => {
  const moves = fc.array(fc.constantFrom("grant", "exclude", "end", "crash"), { maxLength: 20 });
  const label = fc.constantFrom<Record<string, string>>(
    {},
    { [EXCLUDE_LABEL]: "" },
    { [EXCLUDE_LABEL]: "theirs" },
  );
  fc.assert(
    fc.property(fc.boolean(), label, moves, (cordoned, labels, list) => {
      let state = node("a", { cordoned, labels });
      let revision = 0;
      for (const move of list) {
        if (move === "grant") state = applied(state, planCordon(state, token(++revision)));
        else if (move === "exclude") {
          state = applied(state, planCordon(state, token(++revision), revision));
          expect(state.metadata.labels?.[EXCLUDE_LABEL]).toBeDefined();
          expect(planCordon(state, token(revision), revision + 1)).toBeUndefined();
        }
        // A crash forgets to undo; the next grant finds the orphan and inherits what it remembers.
        else if (move === "end") state = applied(state, planUncordon(state, []));
      }
      state = applied(state, planUncordon(state, []));
      expect(isCordoned(state)).toBe(cordoned);
      expect(state.metadata.labels).toEqual(labels);
      expect(state.metadata.annotations?.[CORDON_ANNOTATION]).toBeUndefined();
    }),
  );
});
