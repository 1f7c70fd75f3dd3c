/** Who else reboots nodes of this cluster, by the Pods that it runs on them. */
import type { ConditionUpdate } from "../../api/meta.ts";
import type { Pod } from "../../runtime/core.ts";

/** By name of the Node: who runs there. */
export type Rivals = ReadonlyMap<string, string>;

/** kured's Pods: by the labels of its manifest, and of its Helm chart. */
export const KURED_SELECTORS = ["name=kured", "app.kubernetes.io/name=kured"] as const;

/** Nodes on which one of `pods`, which those labels select, is not over. */
export function rivalsAmong(pods: readonly Pod[]): Rivals {
  return new Map(
    pods.flatMap(({ spec, status }) => {
      const over = status?.phase === "Succeeded" || status?.phase === "Failed";
      return over || spec?.nodeName === undefined ? [] : [[spec.nodeName, "kured"] as const];
    }),
  );
}

/** The group's condition: `nodes` are those that it acts on. */
export function rivalCondition(rivals: Rivals, nodes: readonly string[]): ConditionUpdate {
  const type = "OtherCoordinator";
  const shared = nodes.filter((node) => rivals.has(node)).toSorted();
  const [first] = shared;
  if (first === undefined) {
    const message = "Nobody else was seen that reboots nodes of the group.";
    return { type, status: "False", reason: "NoOtherCoordinator", message };
  }
  const who = rivals.get(first) ?? "";
  const where = shared.slice(0, 3).join(", ") + (shared.length > 3 ? ` and ${shared.length - 3} more` : "");
  return {
    type,
    status: "True",
    reason: "OtherCoordinator",
    message: `${who} runs on ${where} too: two coordinators, each with a budget of its own, can take down twice as many nodes. \`kubectl slipway migrate ${who}\` prints its settings as ours; then delete its DaemonSet.`,
  };
}
