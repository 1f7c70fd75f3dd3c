import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import { group, NOW } from "../fixtures.ts";
import { freeze } from "./deadlines.ts";
import { granted, under, withGrant } from "./fixtures.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;

test("a machine that is away too long is Suspect and keeps its slot (rule 3)", () => {
  const away = { present: false, absentFor: 10 * MINUTE };
  const early = decideNode(under({ phase: "Committed", committedAt: NOW - 10 * MINUTE }, away), NOW);
  expect(early.status.step).toBe("Rebooting");
  const late = decideNode(under({ phase: "Committed", committedAt: NOW - 12 * MINUTE }, away), NOW);
  expect(late.status).toMatchObject({ step: "Suspect", suspectSince: timestamp(NOW) });
  expect(late.status.failed).toBeUndefined();
  const missed = { ...withGrant(granted), status: late.status };
  const failed = decideNode(
    under({ phase: "Committed", committedAt: NOW - 12 * MINUTE }, { ...away, nodeUpdate: missed }),
    NOW + 11 * MINUTE,
  );
  expect(failed.status.failed).toMatchObject([{ reason: "Suspect", release: "os-1.1.0" }]);
  expect(failed.act.do).toBe("none");
  const unsought = decideNode(
    under(
      { phase: "Committed", committedAt: NOW - 12 * MINUTE },
      { present: false, absentFor: 1000, nodeUpdate: missed },
    ),
    NOW + 11 * MINUTE,
  );
  expect(unsought.status).toMatchObject({ step: "Suspect" });
  expect(unsought.status.failed).toBeUndefined();
});

test("a machine that has just connected gets time to report its return, however long ago it was due (rule 10)", () => {
  const suspect = withGrant(granted);
  suspect.status = { ...suspect.status, step: "Suspect", suspectSince: timestamp(NOW - 11 * MINUTE) };
  const connected = (connectedFor: number) =>
    decideNode(
      under(
        { phase: "Committed", committedAt: NOW - 60 * MINUTE },
        { nodeUpdate: suspect, present: true, connectedFor },
      ),
      NOW,
    );
  expect(connected(5000).status).toMatchObject({ step: "Suspect" });
  expect(connected(5000).status.failed).toBeUndefined();
  expect(connected(MINUTE).status.failed).toMatchObject([{ reason: "Suspect", release: "os-1.1.0" }]);
});

test("an opt-in time limit frees a Suspect's slot and charges a failure", () => {
  const policy = { ...freeze(group("pool")), holderTTL: "30m" };
  const suspect = withGrant({ ...granted, policy });
  suspect.status = { ...suspect.status, step: "Suspect", suspectSince: timestamp(NOW - 31 * MINUTE) };
  const { act, status } = decideNode(
    under(
      { phase: "Committed", committedAt: NOW - 60 * MINUTE },
      { nodeUpdate: suspect, present: false, absentFor: 60 * MINUTE },
    ),
    NOW,
  );
  expect(act).toEqual({ do: "free", cause: "HolderExpired" });
  expect(status.failed?.[0]?.reason).toBe("HolderExpired");
});

test("a Node that is gone frees its slot only when its machine is away too", () => {
  const gone = { node: undefined, nodeGone: true };
  const committed = { phase: "Committed", committedAt: NOW - 1000 } as const;
  expect(decideNode(under(committed, gone), NOW).act.do).toBe("none");
  expect(decideNode(under(committed, { ...gone, present: false }), NOW).act).toEqual({
    do: "free",
    cause: "NodeGone",
  });
});
