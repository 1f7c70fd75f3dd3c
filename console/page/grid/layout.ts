/** Where the cells of a zone stand. Lengths in CSS pixels. */

export interface Layout {
  columns: number;
  rows: number;
  /** Of a cell, with the gap after it. */
  pitch: number;
  size: number;
  width: number;
  height: number;
}

const GAP = 2;

/** Smaller cells for large fleets; never so small that a sign can't be read. */
export function cellSize(machines: number): number {
  if (machines <= 200) return 26;
  return machines <= 1500 ? 20 : 16;
}

export function layOut(cells: number, width: number, size: number): Layout {
  const pitch = size + GAP;
  const columns = Math.max(1, Math.min(cells, Math.floor((width + GAP) / pitch)));
  const rows = Math.max(1, Math.ceil(cells / columns));
  return { columns, rows, pitch, size, width: columns * pitch - GAP, height: rows * pitch - GAP };
}

export function cellAt(
  { columns, rows, pitch }: Layout,
  x: number,
  y: number,
  cells: number,
): number | undefined {
  const [column, row] = [Math.floor(x / pitch), Math.floor(y / pitch)];
  if (column < 0 || column >= columns || row < 0 || row >= rows) return undefined;
  const index = row * columns + column;
  return index < cells ? index : undefined;
}

/** Where the keyboard goes from `index`; undefined for a key that does not move. As in the ARIA grid pattern. */
export function moved(
  index: number,
  key: string,
  control: boolean,
  cells: number,
  columns: number,
): number | undefined {
  const rowStart = index - (index % columns);
  const page = columns * 10;
  const to = {
    ArrowRight: index + 1,
    ArrowLeft: index - 1,
    ArrowDown: index + columns < cells ? index + columns : index,
    ArrowUp: index - columns >= 0 ? index - columns : index,
    Home: control ? 0 : rowStart,
    End: control ? cells - 1 : Math.min(rowStart + columns, cells) - 1,
    PageDown: Math.min(cells - 1, index + page),
    PageUp: Math.max(0, index - page),
  }[key];
  return to === undefined ? undefined : Math.max(0, Math.min(cells - 1, to));
}
