/** Manifests that the API server must refuse, each with the field and the words that its refusal must have. */
import { readFileSync } from "node:fs";
import { parse } from "yaml";

type Json = Record<string, unknown>;

export interface BadManifest {
  name: string;
  manifest: Json;
  /** Part of the path of the field that the message must name. */
  field: string;
  /** Words of the fix. */
  fix: RegExp;
}

const example = (file: string): Json =>
  parse(readFileSync(new URL(`../docs/examples/${file}`, import.meta.url), "utf8")) as Json;

const bases = {
  release: example("1-release.yaml"),
  channel: example("2-channel.yaml"),
  group: example("3-update-group.yaml"),
  window: example("4-reboot-window.yaml"),
  budget: example("6-reboot-budget.yaml"),
  sentinel: example("7-sentinel-group.yaml"),
  node: {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "NodeUpdate",
    metadata: { name: "node-1" },
    spec: { nodeName: "node-1", nodeUID: "u", group: "workers" },
  } as Json,
};

/** A base with the value at `path` (dots, indexes) replaced; `undefined` removes it. */
function changed(base: keyof typeof bases, path: string, value: unknown): Json {
  const copy = structuredClone(bases[base]);
  const steps = path.split(".");
  const last = steps.pop() as string;
  let at = copy;
  for (const step of steps) {
    at[step] ??= {};
    at = at[step] as Json;
  }
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

const bad = (
  name: string,
  base: keyof typeof bases,
  path: string,
  value: unknown,
  fix: RegExp,
  field?: string,
): BadManifest => ({
  name,
  manifest: changed(base, path, value),
  field: field ?? path.replace(/\.(\d+)/g, "[$1]"),
  fix,
});

const HEX = "a".repeat(64);
const LIMIT = /at least 1|between 1% and 100%/;
const SELECTOR = /empty selector|at least one label/;
const DURATION = /duration (such as|between)/;
const HOOK = "https://hooks.example.org/x";
const EXACTLY_ONE = /exactly one of/;

export const badManifests: readonly BadManifest[] = [
  // Release
  bad("a release without payloads", "release", "spec.payloads", [], /at least 1|minItems/i),
  bad("a release without product", "release", "spec.product", undefined, /Required/),
  bad("a release without version", "release", "spec.version", undefined, /Required/),
  bad("a version that is a word", "release", "spec.version", "latest", /version such as/),
  bad("a version with a space", "release", "spec.version", "1.2 .3", /version such as/),
  bad("an unknown architecture", "release", "spec.payloads.0.architecture", "sparc", /amd64/),
  bad("an unknown kind of payload", "release", "spec.payloads.0.kind", "Zip", /FastPatch/),
  bad("a root hash that is too short", "release", "spec.payloads.0.rootHash", "abc", /64/),
  bad("a root hash in capitals", "release", "spec.payloads.0.rootHash", HEX.toUpperCase(), /lower-case hex/),
  bad(
    "an image hash that is no hex",
    "release",
    "spec.payloads.0.image.sha256",
    "z".repeat(64),
    /lower-case hex/,
  ),
  bad(
    "a manifest hash with a prefix",
    "release",
    "spec.payloads.0.manifest.sha256",
    `sha256:${HEX.slice(7)}`,
    /lower-case hex/,
  ),
  bad("a size of 0", "release", "spec.payloads.0.image.size", 0, /greater than or equal to 1/),
  bad("a negative size", "release", "spec.payloads.0.image.size", -5, /greater than or equal to 1/),
  bad("a size with a unit", "release", "spec.payloads.0.image.size", "400Mi", /integer/),
  bad("a size over the limit", "release", "spec.payloads.0.image.size", 99_999_999_999, /less than or equal/),
  bad("no mirrors", "release", "spec.payloads.0.image.urls", [], /at least 1/),
  bad(
    "a mirror by ftp",
    "release",
    "spec.payloads.0.image.urls.0",
    "ftp://images.example.org/x",
    /https:\/\//,
  ),
  bad(
    "a mirror with a space",
    "release",
    "spec.payloads.0.manifest.urls.0",
    "https://images.example.org/a b",
    /https:\/\//,
  ),
  bad(
    "a signature that is no base64",
    "release",
    "spec.payloads.0.signatures.0.signature",
    "?".repeat(88),
    /base64/,
  ),
  bad("a signature that is too short", "release", "spec.payloads.0.signatures.0.signature", "AAAA", /88/),
  bad("a signature without key", "release", "spec.payloads.0.signatures.0.keyId", undefined, /Required/),
  bad("an updatesFrom that is no version", "release", "spec.updatesFrom", "any", /version such as/),
  bad("a release without spec", "release", "spec", undefined, /Required/),
  // Channel
  bad("a channel without release", "channel", "spec.release", undefined, /Required/),
  bad("a channel that points at a bad name", "channel", "spec.release", "Harbor 1.1", /lower-case letters/),
  bad("a channel with an empty release", "channel", "spec.release", "", /at least 1/),
  bad(
    "an architecture twice",
    "channel",
    "spec.architectures",
    [
      { architecture: "arm64", release: "a" },
      { architecture: "arm64", release: "b" },
    ],
    /Duplicate/,
  ),
  // UpdateGroup
  bad("both channel and release", "group", "spec.release", "harbor-1.1.0", EXACTLY_ONE, "spec"),
  bad("neither channel nor release", "group", "spec.channel", undefined, EXACTLY_ONE, "spec"),
  bad("a sentinel with a channel", "sentinel", "spec.channel", "stable", EXACTLY_ONE, "spec"),
  bad("no node selector", "group", "spec.nodeSelector", undefined, /Required/),
  bad("an empty node selector", "group", "spec.nodeSelector", {}, SELECTOR),
  bad(
    "a node selector with empty labels",
    "group",
    "spec.nodeSelector",
    { matchLabels: {}, matchExpressions: [] },
    SELECTOR,
  ),
  bad(
    "an unknown operator",
    "group",
    "spec.nodeSelector.matchExpressions",
    [{ key: "a", operator: "Like" }],
    /"In"/,
  ),
  bad("maxUnavailable 0", "group", "spec.maxUnavailable", 0, /paused/),
  bad("maxUnavailable 0%", "group", "spec.maxUnavailable", "0%", /paused/),
  bad("maxUnavailable 101%", "group", "spec.maxUnavailable", "101%", LIMIT),
  bad("maxUnavailable as a word", "group", "spec.maxUnavailable", "few", LIMIT),
  bad("a negative maxUnavailable", "group", "spec.maxUnavailable", -1, LIMIT),
  bad("a limit of 0 per zone", "group", "spec.topology.0.maxUnavailable", 0, LIMIT),
  bad(
    "a topology key twice",
    "group",
    "spec.topology",
    [
      { key: "zone", maxUnavailable: 1 },
      { key: "zone", maxUnavailable: 2 },
    ],
    /Duplicate/,
  ),
  bad("an unknown driver", "group", "spec.driver", "magic", /fastpatch/),
  bad("an unknown strategy", "group", "spec.strategy", "YOLO", /Coordinated/),
  bad("no word about windows", "group", "spec.windows", undefined, /Required/),
  bad("an unknown word about windows", "group", "spec.windows", "Sometimes", /OnlyInWindows/),
  bad("a stage without size", "group", "spec.stages.0.count", undefined, EXACTLY_ONE, "spec.stages[0]"),
  bad(
    "a stage with size and selector",
    "group",
    "spec.stages.0.nodeSelector",
    { matchLabels: { a: "b" } },
    EXACTLY_ONE,
    "spec.stages[0]",
  ),
  bad("a stage of 0 nodes", "group", "spec.stages.0.count", 0, /at least 1/),
  bad("a stage of 0%", "group", "spec.stages.0.count", "0%", /at least 1/),
  bad(
    "a stage with an empty selector",
    "group",
    "spec.stages.0",
    { name: "canary", nodeSelector: {} },
    SELECTOR,
  ),
  bad("stages that shrink", "group", "spec.stages.1.count", 1, /cumulative/, "spec.stages"),
  bad(
    "stages that fall",
    "group",
    "spec.stages",
    [
      { name: "a", count: 5 },
      { name: "b", count: 3 },
    ],
    /cumulative/,
  ),
  bad(
    "stages that mix numbers and percentages",
    "group",
    "spec.stages.1.count",
    "50%",
    /all numbers or all percentages/,
    "spec.stages",
  ),
  bad("two stages of the same name", "group", "spec.stages.1.name", "canary", /Duplicate/, "spec.stages[1]"),
  bad(
    "two stages that select the same nodes",
    "group",
    "spec.stages",
    [
      { name: "a", nodeSelector: { matchLabels: { canary: "yes" } } },
      { name: "b", nodeSelector: { matchLabels: { canary: "yes" } } },
    ],
    /same nodes/,
  ),
  bad("a stage name with capitals", "group", "spec.stages.0.name", "Canary", /lower-case/),
  bad("a soak without unit", "group", "spec.stages.0.soak", "30", DURATION),
  bad("a soak in days", "group", "spec.stages.0.soak", "1d", DURATION),
  bad(
    "a rate of 0",
    "group",
    "spec.rate",
    { updates: 0, period: "1h" },
    /greater than or equal to 1/,
    "spec.rate.updates",
  ),
  bad("a rate without period", "group", "spec.rate", { updates: 1 }, /Required/, "spec.rate.period"),
  bad("a drain timeout of 0", "group", "spec.drain.timeout", "0s", DURATION),
  bad("an unknown word on timeout", "group", "spec.drain.onTimeout", "Kill", /Abort/),
  bad("a boot check that checks nothing", "group", "spec.health.bootChecks.0", { name: "x" }, EXACTLY_ONE),
  bad(
    "a boot check that checks two things",
    "group",
    "spec.health.bootChecks.0",
    { name: "x", unit: "a.service", command: "b" },
    EXACTLY_ONE,
  ),
  bad(
    "a boot check by file URL",
    "group",
    "spec.health.bootChecks.1.http",
    "file:///etc/passwd",
    /https?:\/\//,
  ),
  bad("a boot deadline of 0", "group", "spec.health.bootDeadline", "0s", DURATION),
  bad("a failure threshold of 0", "group", "spec.failureThreshold", 0, /greater than or equal to 1/),
  bad("a holder TTL of seconds", "group", "spec.holderTTL", "30s", DURATION),
  bad(
    "a transfer limit below 0",
    "group",
    "spec.transfer",
    { rateLimit: -1 },
    /greater than or equal to 0/,
    "spec.transfer.rateLimit",
  ),
  bad(
    "a blocker that asks nothing",
    "group",
    "spec.blockers",
    [{ name: "x" }],
    EXACTLY_ONE,
    "spec.blockers[0]",
  ),
  bad(
    "a blocker that asks two",
    "group",
    "spec.blockers",
    [{ name: "x", http: { url: HOOK }, alerts: { url: HOOK } }],
    EXACTLY_ONE,
    "spec.blockers[0]",
  ),
  bad(
    "a blocker by every Pod",
    "group",
    "spec.blockers",
    [{ name: "x", pods: { selector: {} } }],
    SELECTOR,
    "spec.blockers[0].pods.selector",
  ),
  bad(
    "a blocker at a file",
    "group",
    "spec.blockers",
    [{ name: "x", http: { url: "file:///etc/passwd" } }],
    /https?:\/\//,
    "spec.blockers[0].http.url",
  ),
  bad(
    "a blocker with a password",
    "group",
    "spec.blockers",
    [{ name: "x", http: { url: "https://slipway:s3cret@desk.example.org/may-reboot" } }],
    /without a password/,
    "spec.blockers[0].http.url",
  ),
  bad(
    "a blocker that may take an hour",
    "group",
    "spec.blockers",
    [{ name: "x", http: { url: HOOK }, timeout: "1h" }],
    DURATION,
    "spec.blockers[0].timeout",
  ),
  bad(
    "an alert by a regular expression",
    "group",
    "spec.blockers",
    [{ name: "x", alerts: { url: HOOK, only: ["^Kube(Node|Api).+$"] } }],
    /stands for any characters/,
    "spec.blockers[0].alerts.only[0]",
  ),
  bad(
    "a wait for load balancers of a day",
    "group",
    "spec.excludeFromLoadBalancers",
    { wait: "24h" },
    DURATION,
    "spec.excludeFromLoadBalancers.wait",
  ),
  bad(
    "a webhook without a key",
    "group",
    "spec.notifications",
    { url: HOOK },
    /Required/,
    "spec.notifications.signingKey",
  ),
  bad(
    "a webhook key by a path",
    "group",
    "spec.notifications",
    { url: HOOK, signingKey: "../../tls.key" },
    /name of a file/,
    "spec.notifications.signingKey",
  ),
  bad(
    "a webhook for an unknown event",
    "group",
    "spec.notifications",
    { url: HOOK, signingKey: "desk", events: ["Everything"] },
    /Halted/,
    "spec.notifications.events[0]",
  ),
  bad("a word instead of a taint", "group", "spec.preferNoSchedule", "yes", /boolean/),
  // RebootBudget
  bad("a budget of 0", "budget", "spec.maxUnavailable", 0, LIMIT),
  bad("a budget of 0%", "budget", "spec.maxUnavailable", "0%", LIMIT),
  bad("a budget without limit", "budget", "spec.maxUnavailable", undefined, /Required/),
  bad("a budget over everything by accident", "budget", "spec.nodeSelector", {}, SELECTOR),
  bad("a budget with an empty topology key", "budget", "spec.topologyKey", "", /at least 1/),
  // RebootWindow
  bad("a window of duration 0", "window", "spec.duration", "0s", DURATION),
  bad("a window of over a week", "window", "spec.duration", "169h", DURATION),
  bad("a window without duration", "window", "spec.duration", undefined, /Required/),
  bad("a window without start", "window", "spec.start", undefined, /Required/),
  bad("a window for every group by accident", "window", "spec.groupSelector", {}, SELECTOR),
  bad("an unknown mode", "window", "spec.mode", "Maybe", /Allow/),
  bad(
    "an exclusion that is no date",
    "window",
    "spec.exclude",
    [{ from: "24.12.2026", to: "2026-12-26" }],
    /date such as/,
    "spec.exclude[0].from",
  ),
  bad(
    "an exclusion that ends before it begins",
    "window",
    "spec.exclude",
    [{ from: "2026-12-26", to: "2026-12-24" }],
    /must not lie before/,
    "spec.exclude[0]",
  ),
  bad("an empty time zone", "window", "spec.timeZone", "", /at least 1/),
  // NodeUpdate
  bad("a NodeUpdate of two machines", "node", "spec.machineRef", { machineId: "m" }, EXACTLY_ONE, "spec"),
  bad("a NodeUpdate of no machine", "node", "spec.nodeName", undefined, EXACTLY_ONE, "spec"),
  bad("a NodeUpdate without group", "node", "spec.group", undefined, /Required/),
];
