/**
 * Spans of time and the algebra of openings. A list of spans is lazy, ascending by start,
 * disjoint, and two of it never touch: `union` makes such a list of any ascending ones.
 */

/** From `start` up to but not including `end`, wall clock, ms. */
export interface Span {
  start: number;
  end: number;
}

/**
 * What lies in any of `lists` (each ascending by start). A span longer than
 * `endless.length` is the last one, and is given `endless.end`: nobody waits for its end.
 */
export function* union(
  lists: readonly Iterable<Span>[],
  endless = { length: Infinity, end: Infinity },
): Generator<Span> {
  let open: Span | undefined;
  for (const span of ascending(lists)) {
    if (open !== undefined && open.end - open.start > endless.length) break;
    if (open === undefined || span.start > open.end) {
      if (open !== undefined) yield open;
      open = { ...span };
    } else if (span.end > open.end) {
      open.end = span.end;
    }
  }
  if (open !== undefined) yield open.end - open.start > endless.length ? { ...open, end: endless.end } : open;
}

/** What lies in `list` and not in `cuts` (both disjoint and ascending). */
export function* subtract(list: Iterable<Span>, cuts: Iterable<Span>): Generator<Span> {
  const removed = cuts[Symbol.iterator]();
  let cut = removed.next();
  for (const span of list) {
    let start = span.start;
    while (cut.done !== true && cut.value.end <= start) cut = removed.next();
    while (cut.done !== true && cut.value.start < span.end) {
      if (cut.value.start > start) yield { start, end: cut.value.start };
      start = Math.max(start, cut.value.end);
      if (cut.value.end >= span.end) break;
      cut = removed.next();
    }
    if (start < span.end) yield { start, end: span.end };
  }
}

/** The first `count` spans of `list`. */
export function take(list: Iterable<Span>, count: number): Span[] {
  const taken: Span[] = [];
  if (count < 1) return taken;
  for (const span of list) {
    taken.push(span);
    if (taken.length === count) break;
  }
  return taken;
}

/** All of `lists` in order of their starts. */
function* ascending(lists: readonly Iterable<Span>[]): Generator<Span> {
  const heads = lists.map((list) => {
    const iterator = list[Symbol.iterator]();
    return { iterator, head: iterator.next() };
  });
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const candidate of heads) {
      if (candidate.head.done === true) continue;
      if (
        first === undefined ||
        first.head.done === true ||
        candidate.head.value.start < first.head.value.start
      ) {
        first = candidate;
      }
    }
    if (first === undefined || first.head.done === true) return;
    yield first.head.value;
    first.head = first.iterator.next();
  }
}
