/**
 * An agent that is frozen between its commit and its reboot, while a person steals its slot,
 * pauses its group, or the window closes. Thawed after its seconds are spent, it must not reboot.
 */
import { expect, test } from "vitest";
import { RESUME_ANNOTATION, STEAL_ANNOTATION } from "../../../api/labels.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";

/** A commit is never good for longer, ms (coordination/admission.ts). */
const COMMIT_AT_MOST = 30_000;
/** Long enough for the dead man's switch to outlast the freeze: what reboots then would be the agent. */
const health = { bootDeadline: "60s", releaseDeadline: "60s" };

const day = days({ machines: machines(6), limits: { total: 3, perZone: 3 } });
