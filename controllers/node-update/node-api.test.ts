import { expect, test } from "vitest";
import { REBOOT_ANNOTATION, REBOOT_IN_FREEZE_ANNOTATION } from "../../api/labels.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { node, nodeUpdate } from "../fixtures.ts";
import { NodeApi } from "./node-api.ts";

test("a word for a reboot replaces the earlier one, with its leave to go in a change freeze", async () => {
  const asked = {
    ...node("a"),
    metadata: { ...node("a").metadata, annotations: { [REBOOT_ANNOTATION]: "B" } },
  };
  const patches: { plural: string; annotations: unknown }[] = [];
  const client = {
    get: async () => asked,
    patch: async ({ plural }: { plural: string }, _: unknown, { body }: { body: { metadata: object } }) => {
      patches.push({ plural, annotations: (body.metadata as { annotations: unknown }).annotations });
      return nodeUpdate("a", "pool", "os-1.1.0", {});
    },
  } as unknown as KubeClient;
  const earlier = nodeUpdate("a", "pool", "os-1.1.0", {});
  earlier.metadata.annotations = { [REBOOT_ANNOTATION]: "A", [REBOOT_IN_FREEZE_ANNOTATION]: "yes" };
  await new NodeApi(client).moveAsked(earlier, asked, new AbortController().signal);
  expect(patches).toEqual([
    { plural: "nodeupdates", annotations: { [REBOOT_ANNOTATION]: "B", [REBOOT_IN_FREEZE_ANNOTATION]: null } },
    { plural: "nodes", annotations: { [REBOOT_ANNOTATION]: null, [REBOOT_IN_FREEZE_ANNOTATION]: null } },
  ]);
});
