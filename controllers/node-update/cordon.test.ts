import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import type { Token } from "../../coordination/records.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import { node } from "../fixtures.ts";
import { planCordon, planUncordon } from "./cordon.ts";

const token = (revision: number): Token => ({ incarnation: "first", revision });

/** What the API server makes of the merge patch (RFC 7386). */
function applied(before: Node, patch: Patch | undefined): Node {
  if (patch === undefined) return before;
  const body = patch.body as {
    metadata: { resourceVersion: string; annotations: Record<string, string | null> };
    spec: { unschedulable: true | null };
  };
  expect(body.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
  const annotations = { ...before.metadata.annotations };
  for (const [key, value] of Object.entries(body.metadata.annotations)) {
    if (value === null) delete annotations[key];
    else annotations[key] = value;
  }
  const spec = body.spec.unschedulable === null ? {} : { unschedulable: true };
  const resourceVersion = String(Number(before.metadata.resourceVersion) + 1);
  return { ...before, metadata: { ...before.metadata, annotations, resourceVersion }, spec };
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

test("through grants, crashes and restarts a node ends as its people left it (rule 6)", () => {
  const moves = fc.array(fc.constantFrom("grant", "end", "crash"), { maxLength: 20 });
  fc.assert(
    fc.property(fc.boolean(), moves, (cordoned, list) => {
      let state = node("a", { cordoned });
      let revision = 0;
      for (const move of list) {
        if (move === "grant") state = applied(state, planCordon(state, token(++revision)));
        // A crash forgets to undo; the next grant finds the orphan and inherits what it remembers.
        else if (move === "end") state = applied(state, planUncordon(state, []));
      }
      state = applied(state, planUncordon(state, []));
      expect(isCordoned(state)).toBe(cordoned);
      expect(state.metadata.annotations?.[CORDON_ANNOTATION]).toBeUndefined();
    }),
  );
});
