/** kured's DaemonSet (flags of kured 1.23) as a group of driver sentinel and a reboot window. */
import { blockersOf } from "./kured-blockers.ts";
import { goSeconds, inDuration, type Manifest, type Plan, within } from "./plan.ts";
import { containersOf, Flags, type Loose, nameOf } from "./workload.ts";

const SWITCHES = ["force-reboot", "alert-filter-match-only", "alert-firing-only", "annotate-nodes"];
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;
const DAY_SECONDS = 86_400;
const LOCK = "weave.works/kured-node-lock";
const LABELS =
  "a label is set by a hook only while others answer it by an annotation; write spec.hooks for what reads this one, by label, job or http.";
/** What has no counterpart because nothing is lost without it. */
const IMMATERIAL = [
  ...["node-id", "metrics-host", "metrics-port", "ds-namespace", "ds-name", "lock-annotation", "log-format"],
  ...[
    "slack-username",
    "slack-channel",
    "message-template-drain",
    "message-template-reboot",
    "message-template-uncordon",
  ],
];

export function isKured(object: Loose): boolean {
  return (
    object.kind === "DaemonSet" &&
    containersOf(object).some(({ name, image }) => name === "kured" || /(?:^|\/)kured(?:[:@]|$)/.test(image))
  );
}

export function fromKured(daemonSet: Loose): Plan {
  const container = containersOf(daemonSet).find(
    ({ name, image }) => name === "kured" || /kured/.test(image),
  );
  if (container === undefined) throw new Error(`${nameOf(daemonSet)} has no container of kured`);
  const flags = new Flags(container, SWITCHES, (name) =>
    name.startsWith("KURED_") ? name.slice("KURED_".length).toLowerCase().replaceAll("_", "-") : undefined,
  );
  const lost: string[] = [];
  const todo: string[] = [];
  const { name } = daemonSet.metadata;
  const labels = { "slipway.dev/from": name.slice(0, 63) };
  const comments = [
    "maxUnavailable counts every node that is unavailable, for whatever reason; kured's concurrency counted its own locks only.",
  ];
  const windows = windowOf(flags, name, labels, lost);
  const group: Manifest = {
    kind: "UpdateGroup",
    name,
    labels,
    spec: {
      nodeSelector: {
        matchLabels: daemonSet.spec?.template?.spec?.nodeSelector ?? { "kubernetes.io/os": "linux" },
      },
      driver: "sentinel",
      maxUnavailable: within(Number(flags.get("concurrency", "1")) || 1, 1, 100_000),
      windows: windows === undefined ? "Always" : "OnlyInWindows",
      ...settleOf(flags),
      ...blockersOf(flags, comments, lost),
      ...notificationsOf(flags, name, todo, lost),
      ...(flags.has("prefer-no-schedule-taint") ? { preferNoSchedule: true } : {}),
      drain: drainOf(flags, lost),
      ...ttlOf(flags, lost),
    },
    comments,
  };
  sentinel(flags, todo, lost);
  missing(flags, lost);
  locks(daemonSet, todo);
  todo.push(
    `kubectl delete ${daemonSet.kind.toLowerCase()} ${daemonSet.metadata.namespace === undefined ? "" : `-n ${daemonSet.metadata.namespace} `}${name}: two coordinators can take down twice as many nodes.`,
  );
  const left = flags.unread().filter((flag) => !IMMATERIAL.includes(flag));
  for (const flag of left) lost.push(`--${flag}: not known here.`);
  return {
    source: nameOf(daemonSet),
    manifests: windows === undefined ? [group] : [group, windows],
    lost,
    todo,
  };
}

/** Undefined where kured reboots at any time. */
function windowOf(
  flags: Flags,
  name: string,
  labels: Record<string, string>,
  lost: string[],
): Manifest | undefined {
  const days = daysOf(flags.all("reboot-days"), lost);
  const start = timeOf(flags.get("start-time", "0:00"));
  const end = timeOf(flags.get("end-time", "23:59:59"));
  const zone = flags.get("time-zone", "UTC");
  if (start === undefined || end === undefined) {
    lost.push("--start-time and --end-time: they can't be read; write spec.start and spec.duration by hand.");
    return undefined;
  }
  const allDay = start === 0 && end >= DAY_SECONDS - 60;
  if (allDay && days.length === 7) return undefined;
  const length = end > start ? end - start : end - start + DAY_SECONDS;
  const comments: string[] = [];
  if (end <= start) {
    comments.push(
      "kured asked for the weekday of the moment, so with a window over midnight it also rebooted in the early hours of its first day; here the weekday is that of the start.",
    );
  }
  if (zone === "Local")
    comments.push("Local was the time zone of the node; ours belongs to the window: name it.");
  const which = days.length === 7 ? "" : `${days.join(",")} `;
  return {
    kind: "RebootWindow",
    name,
    spec: {
      start: `${which}${clock(start)}`,
      // 23:59:59 stands for the end of the day.
      duration: inDuration(allDay ? DAY_SECONDS : length % 60 === 59 ? length + 1 : length),
      timeZone: zone === "Local" ? "UTC" : zone,
      groupSelector: { matchLabels: labels },
    },
    comments,
  };
}

function daysOf(values: readonly string[], lost: string[]): readonly string[] {
  const words = values.flatMap((value) => value.split(/[,\s]+/)).filter((word) => word !== "");
  if (words.length === 0) return DAYS;
  const found = new Set<number>();
  for (const word of words) {
    const index = /^[0-6]$/.test(word)
      ? Number(word)
      : DAYS.findIndex((day) => word.toLowerCase().startsWith(day.toLowerCase().slice(0, 2)));
    if (index < 0) lost.push(`--reboot-days ${word}: no weekday.`);
    else found.add(index);
  }
  return DAYS.filter((_, index) => found.has(index));
}

/** Seconds of the day: `9:00`, `23:59:59`, `9pm`, `9:30pm` (what kured's window reads). */
function timeOf(text: string): number | undefined {
  const [, hours, minutes = "0", seconds = "0", half] =
    /^(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*([ap]m)?$/i.exec(text.trim()) ?? [];
  if (hours === undefined) return undefined;
  const base =
    half === undefined ? Number(hours) : (Number(hours) % 12) + (half.toLowerCase() === "pm" ? 12 : 0);
  const total = base * 3600 + Number(minutes) * 60 + Number(seconds);
  return total < DAY_SECONDS ? total : undefined;
}

function clock(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor((seconds % 3600) / 60))}`;
}

function settleOf(flags: Flags): { settle?: string } {
  const delay = goSeconds(flags.get("lock-release-delay", "0"));
  return delay === undefined || delay === 0 ? {} : { settle: inDuration(delay) };
}

function drainOf(flags: Flags, lost: string[]): Record<string, unknown> {
  const timeout = goSeconds(flags.get("drain-timeout", "0")) ?? 0;
  if (timeout === 0)
    lost.push("--drain-timeout 0 waited for ever: ours ends after a day at most, and gives the slot back.");
  const grace = Number(flags.get("drain-grace-period", "-1"));
  if (flags.has("drain-pod-selector"))
    lost.push("--drain-pod-selector: every Pod but those of DaemonSets leaves.");
  if (flags.has("skip-wait-for-delete-timeout"))
    lost.push("--skip-wait-for-delete-timeout: a Pod counts until it is gone.");
  if (flags.has("drain-delay")) lost.push("--drain-delay: Pods leave as soon as the node is cordoned.");
  return {
    timeout: inDuration(timeout === 0 ? DAY_SECONDS : within(timeout, 1, DAY_SECONDS)),
    onTimeout: flags.is("force-reboot") ? "Force" : "Abort",
    ...(grace >= 0 ? { gracePeriod: inDuration(grace) } : {}),
  };
}

/** A time limit on a lock is taken over only where somebody set one, with what it means. */
function ttlOf(flags: Flags, lost: string[]): { holderTTL?: string } {
  const ttl = goSeconds(flags.get("lock-ttl", "0"));
  if (ttl === undefined || ttl === 0) return {};
  const least = 600;
  if (ttl < least)
    lost.push(
      `--lock-ttl ${inDuration(ttl)}: at least 10m here, after which a machine that is away loses its slot and counts as a failure.`,
    );
  return { holderTTL: inDuration(within(ttl, least, 720 * 3600)) };
}

function sentinel(flags: Flags, todo: string[], lost: string[]): void {
  const command = flags.get("reboot-sentinel-command", "");
  const file = flags.get("reboot-sentinel", "/var/run/reboot-required");
  todo.push(
    command === ""
      ? `Start the agents with --driver sentinel --sentinel-file ${file}.`
      : `Start the agents with --driver sentinel --sentinel-command NAME, and put NAME on each machine's allow list as: ${command}`,
  );
  if (flags.has("reboot-command") || flags.has("reboot-method") || flags.has("reboot-signal"))
    lost.push(
      "--reboot-command, --reboot-method, --reboot-signal: the agent reboots through logind, whose inhibitors it honours.",
    );
  if (flags.has("reboot-delay"))
    lost.push("--reboot-delay: a drained node reboots as soon as its commit is answered.");
  if (flags.has("period"))
    lost.push(
      "--period: there is none, a marker is seen within half a minute; so a window shorter than the period is not missed any more.",
    );
}

/** A webhook that takes JSON with `text`; the services that kured speaks to otherwise have no counterpart. */
function notificationsOf(
  flags: Flags,
  name: string,
  todo: string[],
  lost: string[],
): { notifications?: { url: string; signingKey: string } } {
  const slack = flags.get("slack-hook-url", "");
  for (const url of flags.all("notify-url"))
    lost.push(
      `--notify-url ${url.replace(/:.*$/s, "://...")}: spec.notifications sends JSON to one http or https URL. Rely on Slipway's alerts, or write the URL of a webhook that takes a JSON body with \`text\`.`,
    );
  if (!/^https?:\/\/[^\s@]+$/.test(slack)) return {};
  todo.push(
    `Give the manager a key by the name ${name} (--webhook-keys): notices are signed with it. Halts, Suspects, stages and the end are told, not each reboot.`,
  );
  return { notifications: { url: slack, signingKey: name } };
}

function missing(flags: Flags, lost: string[]): void {
  for (const flag of ["pre-reboot-node-labels", "post-reboot-node-labels"])
    for (const value of flags.all(flag)) lost.push(`--${flag} ${value}: ${LABELS}`);
  if (flags.has("annotate-nodes"))
    lost.push("--annotate-nodes: `kubectl get nodeupdates` shows what the annotations did.");
}

/** Who holds kured's lock now, from the DaemonSet's annotation; one lock, or with concurrency a list. */
function locks({ metadata }: Loose, todo: string[]): void {
  const text = metadata.annotations?.[LOCK];
  if (text === undefined) return;
  try {
    const lock = JSON.parse(text) as { nodeID?: string; locks?: { nodeID?: string }[] };
    const holders = [lock.nodeID, ...(lock.locks ?? []).map(({ nodeID }) => nodeID)].filter(
      (node) => node !== undefined && node !== "",
    );
    if (holders.length > 0) todo.push(`Wait until kured's lock is free: ${holders.join(", ")} holds it now.`);
  } catch {
    todo.push(`Look at kured's lock, which can't be read: ${text.slice(0, 100)}`);
  }
}
