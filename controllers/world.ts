/** One consistent read of the Kubernetes API: what gates and plans rest on. */
import type { Channel } from "../api/channel.ts";
import type { NodeUpdate } from "../api/node-update.ts";
import type { RebootBudget } from "../api/reboot-budget.ts";
import type { RebootWindow } from "../api/reboot-window.ts";
import type { Release } from "../api/release.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import type { Node } from "../runtime/core.ts";

export interface World {
  groups: readonly UpdateGroup[];
  budgets: readonly RebootBudget[];
  windows: readonly RebootWindow[];
  releases: readonly Release[];
  nodes: readonly Node[];
  nodeUpdates: readonly NodeUpdate[];
  /** For machines that speak Omaha; none if absent. */
  channels?: readonly Channel[];
  /** Names of the Nodes with Pods of what Slipway stands on (design, rule 12); none if absent. */
  foundation?: ReadonlySet<string>;
}
