/** What a migration prints: our objects with comments, and what has no place in them. */
import { stringify } from "yaml";
import { API_VERSION } from "../../api/meta.ts";

export interface Manifest {
  kind: "UpdateGroup" | "RebootWindow";
  name: string;
  labels?: Record<string, string>;
  spec: Record<string, unknown>;
  /** Sentences about this object, each with its full stop. */
  comments: string[];
}

export interface Plan {
  /** What was read: `DaemonSet kube-system/kured`. */
  source: string;
  manifests: Manifest[];
  /** What can't be carried over, and what to do about it, each with its full stop. */
  lost: string[];
  /** What else to do: flags of the agent, commands. */
  todo: string[];
}

/** The plan as YAML that `kubectl apply` takes. */
export function planText({ source, manifests, lost, todo }: Plan): string {
  const head = [`From ${source}. Read it, then: kubectl apply -f FILE, and remove what it replaces.`];
  if (todo.length > 0) head.push("", "To do as well:", ...todo.map((line) => `- ${line}`));
  if (lost.length > 0) head.push("", "Not carried over:", ...lost.map((line) => `- ${line}`));
  const documents = manifests.map(({ kind, name, labels, spec, comments }) => {
    const metadata = { name, ...(labels === undefined ? {} : { labels }) };
    // kubectl reads YAML 1.1, in which a bare Off or 02:00 is no string.
    const body = stringify(
      { apiVersion: API_VERSION, kind, metadata, spec },
      { version: "1.1", lineWidth: 0 },
    );
    return `${comment(comments)}${body}`;
  });
  return `${comment(head)}---\n${documents.join("---\n")}`;
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => (line === "" ? "#\n" : `# ${line}\n`)).join("");
}

/** A period of seconds as our durations are written: `1h30m`. */
export function inDuration(seconds: number): string {
  const [hours, minutes, rest] = [
    Math.floor(seconds / 3600),
    Math.floor((seconds % 3600) / 60),
    seconds % 60,
  ];
  const text = `${hours > 0 ? `${hours}h` : ""}${minutes > 0 ? `${minutes}m` : ""}${rest > 0 ? `${rest}s` : ""}`;
  return text === "" ? "0s" : text;
}

/** Seconds of a Go duration (`1h30m`, `90s`, `1.5h`, `500ms`), or of a bare number of seconds; undefined if it is neither. */
export function goSeconds(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  if (!/^(?:\d+(?:\.\d+)?(?:h|m|s|ms|us|µs|ns))+$/.test(text)) return undefined;
  const units: Record<string, number> = { h: 3600, m: 60, s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 };
  let seconds = 0;
  for (const [, number = "0", unit = "s"] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g))
    seconds += Number(number) * (units[unit] ?? 0);
  return Math.ceil(seconds);
}

/** `seconds` within what our schema takes; what was cut is told. */
export function within(seconds: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, seconds));
}
