/** The Bottlerocket update operator (1.4) as a group of driver sentinel and a reboot window. */
import { inDuration, type Manifest, type Plan, within } from "./plan.ts";
import { containersOf, Flags, type Loose, nameOf } from "./workload.ts";

const NAME = "bottlerocket";
const LABELS = { "slipway.dev/from": "brupop" };
/** Nodes that brupop's agents run on. */
const INTERFACE = "bottlerocket.aws/updater-interface-version";
const ALL = 100_000;
/** Seconds that load balancers may be given at most, as our schema has it. */
const LONGEST_WAIT = 1800;
/** A one-shot trigger has no length: what was in flight ran to completion. */
const TRIGGER_HOURS = 4;

export function isBrupop(object: Loose): boolean {
  return (
    ["Deployment", "DaemonSet"].includes(object.kind) &&
    [object.metadata.name, ...containersOf(object).map(({ image }) => image)].some((text) =>
      /brupop|bottlerocket-update-operator/.test(text),
    )
  );
}

export function fromBrupop(objects: readonly Loose[]): Plan {
  const workloads = objects.filter(isBrupop);
  const controller =
    workloads.find((each) => environmentOf(each).some(({ name }) => name === "MAX_CONCURRENT_UPDATE")) ??
    workloads.find(({ kind }) => kind === "Deployment");
  const container = controller === undefined ? undefined : containersOf(controller)[0];
  const flags = new Flags(
    container ?? { name: "", image: "", command: [], args: [], env: [] },
    [],
    (name) => name,
  );
  const lost: string[] = [];
  const comments: string[] = [];
  const concurrent = flags.get("MAX_CONCURRENT_UPDATE", "1");
  if (concurrent === "unlimited")
    comments.push("MAX_CONCURRENT_UPDATE was unlimited: every node may be down at once. Choose a limit.");
  const window = windowOf(flags, lost);
  const wait = Number(flags.get("EXCLUDE_FROM_LB_WAIT_TIME_IN_SEC", "0")) || 0;
  const group: Manifest = {
    kind: "UpdateGroup",
    name: NAME,
    labels: LABELS,
    spec: {
      nodeSelector: { matchExpressions: [{ key: INTERFACE, operator: "Exists" }] },
      driver: "sentinel",
      maxUnavailable: concurrent === "unlimited" ? "100%" : within(Number(concurrent) || 1, 1, ALL),
      windows: window === undefined ? "Always" : "OnlyInWindows",
      ...(wait > 0 ? { excludeFromLoadBalancers: { wait: inDuration(within(wait, 1, LONGEST_WAIT)) } } : {}),
      drain: { timeout: "24h", onTimeout: "Abort", onWindowClose: window === undefined ? "Abort" : "Finish" },
    },
    comments: [
      ...comments,
      "brupop's drain waited for ever; ours gives the slot back after a day at most.",
      ...(window === undefined
        ? []
        : ["onWindowClose: Finish, because brupop ended outside of the window what it had begun."]),
    ],
  };
  lost.push(
    "Updating itself: there is no driver for Bottlerocket's update API. Let its own updater stage (apiclient update), and this group reboot.",
    "BottlerocketShadow objects: NodeUpdates take their place; the crash count has no counterpart, failures halt the group instead.",
  );
  return {
    source: workloads.map(nameOf).join(" and ") || "brupop's defaults",
    manifests: window === undefined ? [group] : [group, window],
    lost,
    todo: [
      "Start the agents with --driver sentinel --sentinel-command NAME, where NAME ends with 0 when `apiclient get updates/status` says that an update is ready to boot.",
      ...(workloads.length === 0
        ? []
        : [
            `Delete ${workloads.map(nameOf).join(" and ")}: two coordinators can take down twice as many nodes.`,
          ]),
    ],
  };
}

function environmentOf(workload: Loose): readonly { name: string }[] {
  return containersOf(workload).flatMap(({ env }) => env);
}

function windowOf(flags: Flags, lost: string[]): Manifest | undefined {
  const cron = flags.get("SCHEDULER_CRON_EXPRESSION", "");
  if (cron !== "") return fromCron(cron, lost);
  return legacy(flags.get("UPDATE_WINDOW_START", ""), flags.get("UPDATE_WINDOW_STOP", ""), lost);
}

function manifest(start: string, seconds: number, comments: string[]): Manifest {
  return {
    kind: "RebootWindow",
    name: NAME,
    spec: { start, duration: inDuration(seconds), timeZone: "UTC", groupSelector: { matchLabels: LABELS } },
    comments,
  };
}

/** Seven fields in UTC: second, minute, hour, day, month, weekday, year. */
function fromCron(text: string, lost: string[]): Manifest | undefined {
  const fields = text.trim().split(/\s+/);
  const [second = "*", minute = "*", hour = "*", day = "*", month = "*", weekday = "*", year = "*"] = fields;
  const unread = (why: string): undefined => {
    lost.push(`SCHEDULER_CRON_EXPRESSION "${text}": ${why}; write spec.start and spec.duration by hand.`);
    return undefined;
  };
  if (fields.length < 6 || fields.length > 7) return unread(`it has ${fields.length} fields, not 7`);
  if (year !== "*") return unread("it names years");
  const every = [second, minute].every((field) => field === "*");
  const rest = [day, month, weekday].map((field) => (field === "?" ? "*" : field)).join(" ");
  if (every && hour === "*" && rest === "* * *") return undefined;
  if (every) {
    if (hour === "*") return manifest(`0 0 ${rest}`, 24 * 3600, []);
    const [, from, to] = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(hour) ?? [];
    if (from === undefined) return unread("its hours are no single range");
    const hours = Number(to ?? from) - Number(from) + 1;
    return hours < 1 ? unread("its hours run backwards") : manifest(`0 ${from} ${rest}`, hours * 3600, []);
  }
  if (/^\d+$/.test(second) && /^\d+$/.test(minute) && /^[\d,-]+$/.test(hour)) {
    return manifest(`${minute} ${hour} ${rest}`, TRIGGER_HOURS * 3600, [
      `The expression named moments, not a span, and what began then ran to its end: ${TRIGGER_HOURS}h is a guess.`,
    ]);
  }
  return unread("it is neither a span of hours nor a moment");
}

/** `H:M:S`, of which brupop read the hours only, the last one included. */
function legacy(start: string, stop: string, lost: string[]): Manifest | undefined {
  if (start === "" && stop === "") return undefined;
  const [from, to] = [start, stop].map((text) => /^(\d{1,2}):/.exec(text)?.[1]);
  if (from === undefined || to === undefined) {
    lost.push(`UPDATE_WINDOW_START "${start}", UPDATE_WINDOW_STOP "${stop}": they can't be read.`);
    return undefined;
  }
  if (from === to && start === stop) return undefined;
  const hours = ((Number(to) - Number(from) + 24) % 24) + 1;
  return manifest(`${from.padStart(2, "0")}:00`, Math.min(24, hours) * 3600, [
    "brupop read the hours only, and the last one was included.",
  ]);
}
