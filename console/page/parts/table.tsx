/**
 * A native table that becomes a list of blocks where there is no room for columns. The roles are written out, because
 * browsers drop them with `display`.
 */
import type { ComponentChildren } from "preact";

export interface Column<T> {
  head: string;
  cell: (item: T) => ComponentChildren;
  /** Right-aligned. */
  number?: boolean;
  /** Names the row. */
  header?: boolean;
}

export function Table<T>({
  caption,
  columns,
  items,
  rowKey,
  empty,
}: {
  caption: string;
  columns: readonly Column<T>[];
  items: readonly T[];
  rowKey: (item: T) => string;
  empty: string;
}) {
  if (items.length === 0) return <p class="empty">{empty}</p>;
  return (
    <table role="table">
      <caption class="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(({ head, number }) => (
            <th key={head} role="columnheader" scope="col" class={number ? "number" : ""}>
              {head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => (
          <tr key={rowKey(item)} role="row">
            {columns.map(({ head, cell, number, header }) =>
              header ? (
                <th key={head} role="rowheader" scope="row">
                  {cell(item)}
                </th>
              ) : (
                <td key={head} role="cell" data-head={head} class={number ? "number" : ""}>
                  {cell(item)}
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
