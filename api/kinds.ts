/** All kinds of the group, in the order in which a newcomer meets them. */
import { channel } from "./channel.ts";
import type { Kind } from "./kind.ts";
import { nodeUpdate } from "./node-update.ts";
import { rebootBudget } from "./reboot-budget.ts";
import { rebootWindow } from "./reboot-window.ts";
import { release } from "./release.ts";
import { updateGroup } from "./update-group.ts";

export const kinds: readonly Kind[] = [release, channel, updateGroup, rebootBudget, rebootWindow, nodeUpdate];
