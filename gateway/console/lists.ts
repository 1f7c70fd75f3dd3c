/** Pages of lists: sorted by key, so that a page follows the one before it whatever changes meanwhile. */

export interface Asked {
  limit: number;
  continue?: string | undefined;
}

export interface PageOf<T> {
  items: T[];
  total: number;
  continue?: string;
}

/** Undefined for a `continue` that no page gave. */
export function pageOf<T>(
  items: Iterable<T>,
  keyOf: (item: T) => string,
  { limit, continue: token }: Asked,
  descending = false,
): PageOf<T> | undefined {
  const after = token === undefined ? undefined : read(token);
  if (token !== undefined && after === undefined) return undefined;
  const before = (a: string, b: string): boolean => (descending ? a > b : a < b);
  // Only the page is sorted: of 100,000 machines to sort all would hold up everybody.
  const page: { key: string; item: T }[] = [];
  let [total, more] = [0, false];
  for (const item of items) {
    total += 1;
    const key = keyOf(item);
    if (after !== undefined && !before(after, key)) continue;
    const last = page.at(-1);
    if (page.length === limit && last !== undefined) {
      more = true;
      if (!before(key, last.key)) continue;
      page.pop();
    }
    page.splice(placeOf(page, key, before), 0, { key, item });
  }
  const last = page.at(-1);
  return {
    items: page.map(({ item }) => item),
    total,
    ...(last === undefined || !more ? {} : { continue: write(last.key) }),
  };
}

/** Where `key` goes in the sorted page. */
function placeOf(
  page: readonly { key: string }[],
  key: string,
  before: (a: string, b: string) => boolean,
): number {
  let [low, high] = [0, page.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = page[middle];
    if (at !== undefined && before(at.key, key)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function write(key: string): string {
  return Buffer.from(JSON.stringify({ after: key })).toString("base64url");
}

function read(token: string): string | undefined {
  try {
    const { after } = JSON.parse(Buffer.from(token, "base64url").toString()) as { after?: unknown };
    return typeof after === "string" ? after : undefined;
  } catch {
    return undefined;
  }
}
