/** A wall clock that was set back while a node held its slot. */
import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import { live, NOW, node, nodeUpdate, nodeView, observed } from "../fixtures.ts";
import { decideNode } from "./policy.ts";

const AHEAD = NOW + 600_000;

/** The failures after some looks at a node that fell back. */
function looksAt(reason: "PowerLost" | "BootChecksFailed"): NodeUpdateStatus["failed"] {
  const asked = { step: "Granting" as const, time: timestamp(AHEAD), reason: "Granting", message: "" };
  let status: NodeUpdateStatus = { step: "Rebooting", transitions: [asked] };
  for (let look = 0; look < 3; look++) {
    const view = nodeView({
      nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", status),
      node: node("a", { boot: "boot-2" }),
      live: live(
        "uid-a",
        { phase: "Returned", at: AHEAD, verdict: "FellBack", committedBoot: "boot-1/0", reason, message: "" },
        { at: AHEAD },
      ),
      observed: observed("1.0.0", "1.1.0", "boot-2"),
      look: { askedFor: 0, heartbeat: false },
      othersVerified: true,
    });
    ({ status } = decideNode(view, NOW + look * 2000));
  }
  return status.failed;
}

test("one failure is recorded once", () => {
  expect(looksAt("BootChecksFailed")).toHaveLength(1);
});

test("a power cut that is forgiven stays so", () => {
  expect(looksAt("PowerLost")).toBeUndefined();
});
