/** Numbers, times and durations as the page writes them. Times are ms since 1970. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** 12,345 */
export function count(value: number): string {
  return value.toLocaleString("en-GB");
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Share of `all` in whole percent; never 100 before all, never 0 once some. */
export function percent(part: number, all: number): number {
  if (all <= 0) return 0;
  const exact = (part / all) * 100;
  if (part > 0 && exact < 1) return 1;
  return part < all ? Math.min(99, Math.floor(exact)) : 100;
}

/** The two largest units: "3 d 4 h", "12 min", "8 s". */
export function duration(ms: number): string {
  const left = Math.max(0, ms);
  if (left < MINUTE) return `${Math.floor(left / SECOND)} s`;
  if (left < HOUR) return `${Math.floor(left / MINUTE)} min`;
  if (left < DAY) return two(left, HOUR, "h", MINUTE, "min");
  return two(left, DAY, "d", HOUR, "h");
}

function two(ms: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)} ${largeName}${rest === 0 ? "" : ` ${rest} ${smallName}`}`;
}

/** "4 min ago", "in 2 h"; "now" within a second or two. */
export function relative(time: number, now: number): string {
  const away = time - now;
  if (Math.abs(away) < 2 * SECOND) return "now";
  return away > 0 ? `in ${duration(away)}` : `${duration(-away)} ago`;
}

const pad = (value: number): string => String(value).padStart(2, "0");

/** 14:05 in the person's own time zone. */
export function clock(time: number): string {
  const date = new Date(time);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

/** 14:05:09 */
export function clockSeconds(time: number): string {
  return `${clock(time)}:${pad(new Date(time).getSeconds())}`;
}

/** Fri 27 Nov */
export function day(time: number): string {
  const date = new Date(time);
  const names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  return `${names[date.getDay()]} ${date.getDate()} ${months[date.getMonth()]}`;
}

/** Fri 27 Nov 14:05, or 14:05 where it is today. */
export function moment(time: number, now: number): string {
  return startOfDay(time) === startOfDay(now) ? clock(time) : `${day(time)} ${clock(time)}`;
}

/** Midnight before `time`, in the person's own time zone. */
export function startOfDay(time: number): number {
  const date = new Date(time);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** Order of names in which node-2 stands before node-10. */
const collator = new Intl.Collator("en", { numeric: true });
export function byName(a: string, b: string): number {
  return collator.compare(a, b);
}
