/** The shapes of a stacked chart. */
import type { Versions } from "../contract.ts";

/** Versions with an area of their own; the rest is one more. */
export const SERIES_SHOWN = 5;

export interface Area {
  label: string;
  /** The newest count. */
  latest: number;
  /** For the attribute `d`. */
  path: string;
}

/** Most machines at the bottom, what is rare together on top. Counts hold until the next point. */
export function areas(
  { times, series }: Pick<Versions, "times" | "series">,
  width: number,
  height: number,
): Area[] {
  const at = times.map((time) => Date.parse(time));
  const [first = 0, last = 0] = [at[0], at.at(-1)];
  const layers = series.slice(0, SERIES_SHOWN).map(({ version, counts }) => ({
    label: version === "" ? "unknown" : version,
    counts: at.map((_, index) => counts[index] ?? 0),
  }));
  const rest = series.slice(SERIES_SHOWN);
  if (rest.length > 0) {
    const counts = at.map((_, index) => rest.reduce((sum, one) => sum + (one.counts[index] ?? 0), 0));
    layers.push({ label: "others", counts });
  }
  const totals = at.map((_, index) => layers.reduce((sum, { counts }) => sum + (counts[index] ?? 0), 0));
  const top = Math.max(1, ...totals);
  const x = (index: number): number =>
    last === first ? 0 : (((at[index] ?? 0) - first) / (last - first)) * width;
  const y = (value: number): number => height - (value / top) * height;
  const below = at.map(() => 0);
  return layers.map(({ label, counts }) => {
    const bottom = [...below];
    for (const [index, value] of counts.entries()) below[index] = (below[index] ?? 0) + value;
    return { label, latest: counts.at(-1) ?? 0, path: steps(bottom, below, x, y, width) };
  });
}

/** Along the top to the right, and back along the bottom, in steps. */
function steps(
  bottom: readonly number[],
  top: readonly number[],
  x: (index: number) => number,
  y: (value: number) => number,
  width: number,
): string {
  const round = (value: number): string => String(Math.round(value * 10) / 10);
  const end = (index: number): string => round(index + 1 < top.length ? x(index + 1) : width);
  const there = top.map((value, index) => `V${round(y(value))}H${end(index)}`);
  const back = bottom.map((value, index) => `V${round(y(value))}H${round(x(index))}`).toReversed();
  return `M0 ${round(y(bottom[0] ?? 0))}${there.join("")}${back.join("")}Z`;
}

/** Indexes of at most `most` of them, evenly, newest first. */
export function thinned(items: readonly unknown[], most: number): number[] {
  const step = Math.max(1, Math.ceil(items.length / most));
  const indexes: number[] = [];
  for (let index = items.length - 1; index >= 0; index -= step) indexes.push(index);
  return indexes;
}
