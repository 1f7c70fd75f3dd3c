/**
 * When a window starts, as people write it: `Mon-Fri 02:00`, `04:00`, or the five fields
 * of crontab(5). A start names minutes of the day and the days that have them; the time
 * zone is not part of it.
 */
import type { Why } from "../../api/reasons.ts";

/** A start. An undefined set of days restricts nothing. */
export interface Start {
  /** Minutes of the day, 0 to 1439, ascending. */
  readonly minutes: readonly number[];
  /** 1 to 12. */
  readonly months: ReadonlySet<number> | undefined;
  /** 1 to 31. */
  readonly daysOfMonth: ReadonlySet<number> | undefined;
  /** 0 (Sunday) to 6. */
  readonly daysOfWeek: ReadonlySet<number> | undefined;
  /** Whether a day that satisfies one of the two sets of days is enough: crontab(5), where neither field begins with `*`. */
  readonly either: boolean;
}

const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

interface Field {
  name: string;
  min: number;
  max: number;
  /** Names stand for `min`, `min + 1`, ... */
  names: readonly string[];
  /** Weekdays: 7 is 0, and a range may run over the end of the week. */
  wraps: boolean;
}

const MINUTE: Field = { name: "minute", min: 0, max: 59, names: [], wraps: false };
const HOUR: Field = { name: "hour", min: 0, max: 23, names: [], wraps: false };
const DAY_OF_MONTH: Field = { name: "day of month", min: 1, max: 31, names: [], wraps: false };
const MONTH: Field = { name: "month", min: 1, max: 12, names: MONTHS, wraps: false };
const DAY_OF_WEEK: Field = { name: "weekday", min: 0, max: 6, names: WEEKDAYS, wraps: true };

/** Thrown inside this file only; the message ends the sentence that begins with the quoted text. */
class Unreadable extends Error {}

/** Reads a start, or says what is wrong with it (`InvalidStart`). */
export function parseStart(text: string): Start | Why {
  const fields = text.trim().split(/\s+/);
  try {
    switch (fields.length) {
      case 1:
        return daily(fields[0] ?? "");
      case 2:
        return { ...daily(fields[1] ?? ""), daysOfWeek: values(fields[0] ?? "", DAY_OF_WEEK, false) };
      case 5:
        return cron(fields);
      default:
        throw new Unreadable(`has ${fields.length} fields`);
    }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    const help = "write `Mon-Fri 02:00`, `Thu 04:00`, `04:00` or five cron fields";
    return { reason: "InvalidStart", message: `spec.start "${text}" ${error.message}: ${help}.` };
  }
}

/** Whether `start` has its minutes on that day. */
export function fallsOn(start: Start, month: number, dayOfMonth: number, dayOfWeek: number): boolean {
  if (start.months?.has(month) === false) return false;
  const byMonth = start.daysOfMonth?.has(dayOfMonth) ?? true;
  const byWeek = start.daysOfWeek?.has(dayOfWeek) ?? true;
  return start.either ? byMonth || byWeek : byMonth && byWeek;
}

function daily(text: string): Start {
  const match = /^([0-9]{1,2}):([0-9]{2})$/.exec(text);
  if (match === null) throw new Unreadable(`has "${text}" where a time such as 02:00 belongs`);
  const hour = Number.parseInt(match[1] ?? "", 10);
  const minute = Number.parseInt(match[2] ?? "", 10);
  if (hour > 23 || minute > 59) throw new Unreadable(`has the time ${text}, which no day has`);
  return {
    minutes: [hour * 60 + minute],
    months: undefined,
    daysOfMonth: undefined,
    daysOfWeek: undefined,
    either: false,
  };
}

function cron(fields: readonly string[]): Start {
  const [minute = "", hour = "", dayOfMonth = "", month = "", dayOfWeek = ""] = fields;
  const minutes = ascending(values(minute, MINUTE));
  const any = (text: string, field: Field): ReadonlySet<number> | undefined =>
    text === "*" ? undefined : values(text, field);
  return {
    minutes: ascending(values(hour, HOUR)).flatMap((h) => minutes.map((m) => h * 60 + m)),
    months: any(month, MONTH),
    daysOfMonth: any(dayOfMonth, DAY_OF_MONTH),
    daysOfWeek: any(dayOfWeek, DAY_OF_WEEK),
    either: !dayOfMonth.startsWith("*") && !dayOfWeek.startsWith("*"),
  };
}

function ascending(set: ReadonlySet<number>): number[] {
  return [...set].toSorted((a, b) => a - b);
}

/** The values of a comma list of `a`, `a-b` and, where `steps` are allowed, `*`, `*` + `/n`, `a-b/n`. */
function values(text: string, field: Field, steps = true): Set<number> {
  const all = new Set<number>();
  for (const item of text.split(",")) {
    const [range = "", step, ...more] = item.split("/");
    if (more.length > 0 || (!steps && (step !== undefined || range === "*"))) {
      throw new Unreadable(`has "${item}", which is no ${field.name}`);
    }
    const [from, to] = bounds(range, field);
    const by = step === undefined ? 1 : count(step, field);
    if (step !== undefined && !range.includes("-") && range !== "*") {
      throw new Unreadable(`has the step "${item}" without a range (\`*/${step}\` or \`a-b/${step}\`)`);
    }
    const size = field.max - field.min + 1;
    for (let value = from; value <= to; value += by) all.add(field.min + ((value - field.min) % size));
  }
  return all;
}

function bounds(range: string, field: Field): [from: number, to: number] {
  if (range === "*") return [field.min, field.max];
  const [first = "", last, ...more] = range.split("-");
  if (more.length > 0) throw new Unreadable(`has "${range}", which is no ${field.name}`);
  const from = single(first, field);
  if (last === undefined) return [from, from];
  const to = single(last, field);
  if (to >= from) return [from, to];
  if (!field.wraps) throw new Unreadable(`has the range ${range}, which ends before it begins`);
  return [from, to + field.max - field.min + 1];
}

function single(text: string, field: Field): number {
  const named = field.names.indexOf(text.toLowerCase());
  if (named >= 0) return field.min + named;
  const value = /^[0-9]{1,2}$/.test(text) ? Number.parseInt(text, 10) : Number.NaN;
  const max = field.wraps ? field.max + 1 : field.max;
  if (value >= field.min && value <= max) return value;
  throw new Unreadable(`has "${text}", which is no ${field.name}`);
}

function count(text: string, field: Field): number {
  const value = /^[0-9]{1,4}$/.test(text) ? Number.parseInt(text, 10) : 0;
  if (value < 1) throw new Unreadable(`has the step "${text}" in the ${field.name}`);
  return value;
}
