/** How facts become sentences. */
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A span of time as kubectl prints ages: `45s`, `12m`, `3h20m`, `5d`. Milliseconds. */
export function span(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < 2 * MINUTE) return `${Math.floor(ms / SECOND)}s`;
  if (ms < 2 * HOUR) return `${Math.floor(ms / MINUTE)}m`;
  if (ms >= 2 * DAY) return `${Math.floor(ms / DAY)}d`;
  const minutes = Math.floor((ms % HOUR) / MINUTE);
  return `${Math.floor(ms / HOUR)}h${minutes === 0 ? "" : `${minutes}m`}`;
}

/** `2026-01-06T02:00:00Z (in 14h)` or `(12m ago)`. */
export function when(time: string | number, now: number): string {
  const at = typeof time === "number" ? time : Date.parse(time);
  const text = typeof time === "number" ? new Date(time).toISOString().replace(/\.\d{3}Z$/, "Z") : time;
  return at > now ? `${text} (in ${span(at - now)})` : `${text} (${span(now - at)} ago)`;
}

/** Words that keep their capital inside of a sentence. */
const NAMES = /^(?:[A-Z][a-z]+[A-Z]|Release\b|Channel\b|Node\b|Pods?\b|[A-Z]{2})/;

/** A message of the manager as the part of a sentence: no full stop at its end, `;` between its sentences. */
export function clause(message: string): string {
  const parts = message
    .trim()
    .replace(/^[A-Z][a-zA-Z]+: (?=[a-z])/, "")
    .replace(/\.+$/, "")
    .split(/\.\s+(?=[A-Z0-9]|admission webhook )/);
  return parts
    .map((part) => (NAMES.test(part) ? part : part.charAt(0).toLowerCase() + part.slice(1)))
    .join("; ");
}

const TIME = /\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z/g;

/** `text` with how far from `now` (wall clock, ms) each of its times is. */
export function dated(text: string, now: number): string {
  return text.replaceAll(TIME, (time) => when(time, now));
}

/** Up to `most` names, and how many more. */
export function names(list: readonly string[], most = 3): string {
  const shown = list.slice(0, most);
  const more = list.length - shown.length;
  if (more > 0) return `${shown.join(", ")} and ${more} more`;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

export function count(number: number, noun: string): string {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}
