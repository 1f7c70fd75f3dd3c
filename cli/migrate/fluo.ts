/** The Flatcar Linux Update Operator (0.10) and its agents, as a group of driver sentinel and a reboot window. */
import { goSeconds, inDuration, type Manifest, type Plan, within } from "./plan.ts";
import { containersOf, Flags, type Loose, nameOf } from "./workload.ts";

const PREFIXES = ["flatcar-linux-update.v1.flatcar-linux.net/", "container-linux-update.v1.coreos.com/"];
const FLUO = /(?:flatcar|container)-linux-update-(?:operator|agent)/;
const SWITCHES = ["force-drain", "manage-agent"];
const NAME = "flatcar";
const LABELS = { "slipway.dev/from": "fluo" };
/** The agent's default for -grace-period: the drain's time. */
const GRACE = 600;
/** FLUO has no timeout for hooks; as many annotations as a hook of ours takes. */
const HOOK_TIMEOUT = "15m";
const MOST_ANSWERS = 8;
const DAY_SECONDS = 86_400;
/** Longest window that our schema takes. */
const WEEK_SECONDS = 7 * DAY_SECONDS;

export function isFluo(object: Loose): boolean {
  return (
    ["Deployment", "DaemonSet"].includes(object.kind) &&
    [object.metadata.name, ...containersOf(object).map(({ image }) => image)].some((text) => FLUO.test(text))
  );
}

/** `nodes`: for those that a person paused. */
export function fromFluo(objects: readonly Loose[], nodes: readonly Loose[]): Plan {
  const workloads = objects.filter(isFluo);
  const operator = workloads.find(({ kind }) => kind === "Deployment");
  const agent = workloads.find(({ kind }) => kind === "DaemonSet");
  const lost: string[] = [];
  const todo: string[] = [];
  const operatorFlags = flagsOf(operator);
  const agentFlags = flagsOf(agent);
  const window = windowOf(operatorFlags, lost);
  const grace = goSeconds(agentFlags?.get("grace-period", String(GRACE)) ?? String(GRACE)) ?? GRACE;
  const hooks = hooksOf(operatorFlags, lost);
  const selector = agent?.spec?.template?.spec?.nodeSelector ?? { "kubernetes.io/os": "linux" };
  const group: Manifest = {
    kind: "UpdateGroup",
    name: NAME,
    labels: LABELS,
    spec: {
      nodeSelector: { matchLabels: selector },
      driver: "sentinel",
      maxUnavailable: 1,
      windows: window === undefined ? "Always" : "OnlyInWindows",
      drain: {
        timeout: inDuration(within(grace, 1, DAY_SECONDS)),
        onTimeout: "Force",
        onWindowClose: "Abort",
      },
      ...(hooks === undefined ? {} : { hooks }),
    },
    comments: [
      "One node at a time, as FLUO does (its limit is no flag).",
      "onTimeout: Force, because FLUO's agent reboots although Pods remain; Abort gives the slot back instead.",
      ...(hooks === undefined
        ? []
        : [
            `FLUO waits for its hooks for ever, and before the drain; here they come after it, and fail after ${HOOK_TIMEOUT}, which must fit into a window too.`,
          ]),
    ],
  };
  todo.push(
    "On each machine, put a command on the agent's allow list that ends with 0 when update_engine needs a reboot (update_engine_client -status says UPDATE_STATUS_UPDATED_NEED_REBOOT), and start the agents with --driver sentinel --sentinel-command NAME.",
    "Keep REBOOT_STRATEGY=off in /etc/flatcar/update.conf, and locksmithd masked.",
  );
  for (const { metadata } of nodes) {
    const annotations = metadata.annotations ?? {};
    const is = (key: string): boolean => PREFIXES.some((prefix) => annotations[`${prefix}${key}`] === "true");
    if (is("reboot-paused"))
      todo.push(`kubectl slipway node hold ${metadata.name} --reason "reboot-paused of FLUO"`);
    if (is("reboot-in-progress") || is("reboot-ok"))
      todo.push(`Wait until FLUO is done with ${metadata.name}, which it reboots now.`);
  }
  if (agentFlags?.has("force-drain") === true)
    lost.push("-force-drain: Pods without a controller are evicted like all others.");
  lost.push(
    "The namespace kube-system: FLUO left its Pods alone, ours leave like all others (those of DaemonSets stay).",
  );
  for (const flags of [operatorFlags, agentFlags])
    for (const flag of flags?.unread() ?? [])
      if (!IMMATERIAL.includes(flag)) lost.push(`-${flag}: not known here.`);
  if (workloads.length > 0)
    todo.push(
      `Delete ${workloads.map(nameOf).join(" and ")}: two coordinators can take down twice as many nodes.`,
    );
  return {
    source: workloads.map(nameOf).join(" and ") || "FLUO's defaults",
    manifests: window === undefined ? [group] : [group, window],
    lost,
    todo,
  };
}

const IMMATERIAL = ["kubeconfig", "version", "node", "v", "logtostderr", "agent-image-repo"];

function flagsOf(workload: Loose | undefined): Flags | undefined {
  const container = workload === undefined ? undefined : containersOf(workload)[0];
  return container === undefined ? undefined : new Flags(container, SWITCHES, fromEnvironment);
}

/** UPDATE_OPERATOR_REBOOT_WINDOW_START and the like. */
function fromEnvironment(name: string): string | undefined {
  const [, flag] = /^UPDATE_(?:OPERATOR|AGENT)_(.+)$/.exec(name) ?? [];
  return flag?.toLowerCase().replaceAll("_", "-");
}

function windowOf(flags: Flags | undefined, lost: string[]): Manifest | undefined {
  const start = flags?.get("reboot-window-start", "") ?? "";
  const length = flags?.get("reboot-window-length", "") ?? "";
  if (start === "") return undefined;
  const seconds = goSeconds(length);
  const [, day = "", hours, minutes] = /^(?:(\w+)\s+)?(\d{1,2}):(\d{2})$/.exec(start.trim()) ?? [];
  if (seconds === undefined || seconds < 1 || hours === undefined || minutes === undefined) {
    lost.push(`-reboot-window-start "${start}", -reboot-window-length "${length}": they can't be read.`);
    return undefined;
  }
  const when = `${hours.padStart(2, "0")}:${minutes}`;
  return {
    kind: "RebootWindow",
    name: NAME,
    spec: {
      start: day === "" ? when : `${day.slice(0, 1).toUpperCase()}${day.slice(1, 3).toLowerCase()} ${when}`,
      duration: inDuration(within(seconds, 1, WEEK_SECONDS)),
      timeZone: "UTC",
      groupSelector: { matchLabels: LABELS },
    },
    comments: [
      "UTC was the time zone of the operator's Pod: name the one that you mean.",
      "FLUO asked for the window when it chose a node; ours is asked again before the reboot.",
    ],
  };
}

/** What FLUO's hooks are here: DaemonSets that its labels select go on as they are. */
function hooksOf(flags: Flags | undefined, lost: string[]): Record<string, object[]> | undefined {
  const lists = ["before", "after"].flatMap((when): [string, object[]][] => {
    const keys = (flags?.get(`${when}-reboot-annotations`, "") ?? "").split(",").map((key) => key.trim());
    const answers = [...new Set(keys.filter((key) => key !== ""))];
    if (answers.length === 0) return [];
    if (answers.length > MOST_ANSWERS)
      lost.push(`-${when}-reboot-annotations: those after the ${MOST_ANSWERS}th; a hook has no more.`);
    const label = { key: `${PREFIXES[0]}${when}-reboot`, answers: answers.slice(0, MOST_ANSWERS) };
    return [[when, [{ name: "fluo", label, timeout: HOOK_TIMEOUT, onFailure: "Stop" }]]];
  });
  return lists.length === 0 ? undefined : Object.fromEntries<object[]>(lists);
}
