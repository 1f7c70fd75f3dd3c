/** Hooks that the API server must refuse. */
import { type BadManifest, bad, type Json } from "./bad-manifest.ts";

const DURATION = /duration (such as|between)/;
const HOOK = "https://hooks.example.org/x";
const EXACTLY_ONE = /exactly one of/;
const LABEL = { key: "example.org/before-reboot", answers: ["example.org/ready"] };
const SOUND = { name: "desk", onFailure: "Stop", http: { url: HOOK } };

/** A hook before the reboot; `field` within it. */
const hook = (name: string, changes: Json, fix: RegExp, field: string): BadManifest =>
  bad(
    name,
    "group",
    "spec.hooks",
    { before: [{ name: "desk", onFailure: "Stop", ...changes }] },
    fix,
    `spec.hooks.before[0]${field}`,
  );

export const badHooks: readonly BadManifest[] = [
  hook("a hook that does nothing", {}, EXACTLY_ONE, ""),
  hook("a hook that does two things", { http: { url: HOOK }, label: LABEL }, EXACTLY_ONE, ""),
  hook(
    "a hook that is silent on failure",
    { http: { url: HOOK }, onFailure: undefined },
    /Required/,
    ".onFailure",
  ),
  hook("a hook that retries", { http: { url: HOOK }, onFailure: "Retry" }, /Stop.*Continue/, ".onFailure"),
  hook("a hook of a week", { http: { url: HOOK }, timeout: "168h" }, DURATION, ".timeout"),
  hook("a hook with a capital name", { http: { url: HOOK }, name: "Ceph" }, /lower-case letters/, ".name"),
  hook("a hook on a file", { http: { url: "file:///etc/passwd" } }, /starts with http/, ".http.url"),
  hook(
    "a hook with a key by a path",
    { http: { url: HOOK, signingKey: "../tls.key" } },
    /name of a file/,
    ".http.signingKey",
  ),
  hook(
    "a hook that takes a node's role",
    { label: { ...LABEL, key: "node-role.kubernetes.io/control-plane" } },
    /domain of yours/,
    ".label.key",
  ),
  hook(
    "a hook that takes a hold off",
    { label: { ...LABEL, answers: ["slipway.dev/hold"] } },
    /domain of yours/,
    ".label.answers[0]",
  ),
  hook("a hook that nobody answers", { label: { ...LABEL, answers: [] } }, /at least 1/, ".label.answers"),
  hook(
    "a hook whose key has spaces",
    { label: { ...LABEL, key: "before reboot" } },
    /a key such as/,
    ".label.key",
  ),
  hook("a hook that fails when done", { label: { ...LABEL, failed: "true" } }, /different answers/, ".label"),
  hook("a Job without namespace", { job: { cronJob: "ceph" } }, /Required/, ".job.namespace"),
  hook(
    "a Job by a path",
    { job: { namespace: "ops", cronJob: "a/b" } },
    /lower-case letters/,
    ".job.cronJob",
  ),
  bad(
    "two hooks of one name",
    "group",
    "spec.hooks",
    { before: [SOUND, SOUND] },
    /Duplicate/,
    "spec.hooks.before[1]",
  ),
  bad(
    "nine hooks",
    "group",
    "spec.hooks",
    { after: Array.from({ length: 9 }, (_, index) => ({ ...SOUND, name: `h${index}` })) },
    /at most 8/,
    "spec.hooks.after",
  ),
];
