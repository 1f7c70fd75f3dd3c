/** What a machine without our agent told of its updates, event by event. */
import type { ForeignMachine } from "./records.ts";

export type History = NonNullable<ForeignMachine["history"]>;

/** Events of a machine that are kept, of four an update. */
const REMEMBERED = 20;

/** Both newest first. An event that was told of before is there once: two gateways, or two writes, may know of it. */
export function historyWith(known: History, told: History = []): History {
  const news = told.filter((event) => !known.some((other) => isSame(event, other)));
  if (news.length === 0) return known;
  return [...news, ...known].toSorted((a, b) => b.at - a.at).slice(0, REMEMBERED);
}

function isSame(a: History[number], b: History[number]): boolean {
  return a.at === b.at && a.type === b.type && a.result === b.result && a.code === b.code;
}
