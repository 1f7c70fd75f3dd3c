/** What kured's flags for alerts and Pods are as `spec.blockers`. */
import type { LabelSelector } from "../../api/selector.ts";
import type { Flags } from "./workload.ts";

/** As many as our schema takes. */
const BLOCKERS = 8;
const ALERTS = 64;

type Blocker = { name: string } & Record<string, unknown>;

/** Absent where nothing blocks. `comments` and `lost` are added to. */
export function blockersOf(flags: Flags, comments: string[], lost: string[]): { blockers?: Blocker[] } {
  const blockers = [...alertBlocker(flags, comments, lost), ...podBlockers(flags, lost)];
  for (const { name } of blockers.slice(BLOCKERS))
    lost.push(`Blocker ${name}: a group has ${BLOCKERS} blockers at most.`);
  return blockers.length === 0 ? {} : { blockers: blockers.slice(0, BLOCKERS) };
}

function alertBlocker(flags: Flags, comments: string[], lost: string[]): Blocker[] {
  const url = flags.get("prometheus-url", "");
  const filter = flags.get("alert-filter-regexp", "");
  const only = flags.is("alert-filter-match-only");
  // kured counts pending alerts too, unless it is told not to.
  const pending = !flags.is("alert-firing-only");
  if (url === "") return [];
  if (!/^https?:\/\/[^\s@]+$/.test(url)) {
    lost.push(`--prometheus-url ${url}: spec.blockers takes http:// and https://, without a password.`);
    return [];
  }
  const patterns = filter === "" ? [] : patternsOf(filter);
  if (patterns === undefined) {
    lost.push(
      `--alert-filter-regexp ${filter}: no list of names in which * stands for any characters; until you write alerts.${only ? "only" : "ignore"}, every alert blocks.`,
    );
  } else if (patterns.length === 0) {
    comments.push(
      "Without a filter every alert blocks, Watchdog too, which always fires: name it in alerts.ignore.",
    );
  }
  const named =
    patterns === undefined || patterns.length === 0 ? {} : { [only ? "only" : "ignore"]: patterns };
  return [{ name: "alerts", alerts: { url, ...named, pending } }];
}

function podBlockers(flags: Flags, lost: string[]): Blocker[] {
  const texts = flags.all("blocking-pod-selector");
  return texts.flatMap((text, index) => {
    const selector = selectorOf(text);
    if (selector !== undefined)
      return [{ name: texts.length === 1 ? "pods" : `pods-${index + 1}`, pods: { selector } }];
    lost.push(`--blocking-pod-selector ${text}: it can't be read; write spec.blockers by hand.`);
    return [];
  });
}

/**
 * Names of alerts, in which `*` stands for any characters, that say what a regular expression of
 * Go says: alternatives of words and `.*`. Undefined if it says more than that.
 */
export function patternsOf(expression: string): string[] | undefined {
  const [, before = "", inner, after = ""] = /^(\^?)\((?:\?:)?([^()]*)\)(\$?)$/.exec(expression) ?? [];
  const alternatives = (inner ?? expression)
    .split("|")
    .map((one) => (inner === undefined ? one : before + one + after));
  const patterns = [...new Set(alternatives)].map((one) => {
    const [, start, body = "", end] = /^(\^?)((?:\w|\.\*)+)(\$?)$/.exec(one) ?? [];
    if (start === undefined) return undefined;
    return `${start === "" ? "*" : ""}${body.replaceAll(".*", "*")}${end === "" ? "*" : ""}`.replaceAll(
      /\*+/g,
      "*",
    );
  });
  if (patterns.length > ALERTS) return undefined;
  return patterns.every((one) => one !== undefined && /^[a-zA-Z_*]/.test(one) && one.length <= 128)
    ? (patterns as string[])
    : undefined;
}

/** A label selector as text (apimachinery `labels.Parse`); undefined if it can't be read, or selects everything. */
export function selectorOf(text: string): LabelSelector | undefined {
  const matchLabels: Record<string, string> = {};
  const matchExpressions: NonNullable<LabelSelector["matchExpressions"]> = [];
  // Commas between requirements, not those between values.
  for (const part of text.split(/,(?![^(]*\))/)) {
    const requirement = part.trim();
    const [, key, sign, value] = /^([^\s=!,()]+)\s*(==?|!=)\s*([^\s=!,()]*)$/.exec(requirement) ?? [];
    const [, setKey, not, values] = /^([^\s=!,()]+)\s+(not)?in\s*\(([^()]*)\)$/.exec(requirement) ?? [];
    const [, absent, bare] = /^(!?)\s*([^\s=!,()]+)$/.exec(requirement) ?? [];
    if (key !== undefined && value !== undefined) {
      if (sign === "!=") matchExpressions.push({ key, operator: "NotIn", values: [value] });
      else if (key in matchLabels) return undefined;
      else matchLabels[key] = value;
    } else if (setKey !== undefined && values !== undefined) {
      matchExpressions.push({
        key: setKey,
        operator: not === undefined ? "In" : "NotIn",
        values: values.split(",").map((one) => one.trim()),
      });
    } else if (bare !== undefined) {
      matchExpressions.push({ key: bare, operator: absent === "" ? "Exists" : "DoesNotExist" });
    } else return undefined;
  }
  return {
    ...(Object.keys(matchLabels).length === 0 ? {} : { matchLabels }),
    ...(matchExpressions.length === 0 ? {} : { matchExpressions }),
  };
}
