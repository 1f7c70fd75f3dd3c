/**
 * The machines of one zone: a canvas for the eye, and over it one real grid cell, the one that the keyboard is at, for the
 * focus and for screen readers (a grid of which only the active cell is rendered, as ARIA's aria-rowindex allows).
 */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../app-context.ts";
import type { Cell, Zone } from "../machines.ts";
import { LOOKS } from "../mark.ts";
import { cellAt, type Layout, layOut, moved } from "./layout.ts";
import { makePictures, paint } from "./painter.ts";

export interface ZoneGridProps {
  zone: Zone;
  size: number;
  /** Whether a cell is drawn strongly; all of them are where it is undefined. */
  strong: ((cell: Cell) => boolean) | undefined;
  selected: ReadonlyMap<string, string>;
  shown: string | undefined;
  /** Labelled by the heading with this id. */
  labelledBy: string;
  onOpen: (cell: Cell) => void;
  onSelect: (cells: readonly Cell[], on: boolean) => void;
}

export function ZoneGrid(props: ZoneGridProps) {
  const { zone, size, strong, selected, shown, labelledBy } = props;
  const { model } = useApp();
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const active = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState(0);
  const [hover, setHover] = useState<number | undefined>(undefined);
  const cells = zone.cells.length;
  const layout = layOut(cells, width, size);
  const scale = globalThis.devicePixelRatio;
  const look = useLook();
  const painted = useRef<{ pictures: ReturnType<typeof makePictures>; key: string } | undefined>(undefined);
  const draw = (all: boolean): void => {
    if (canvas.current === null || width === 0) return;
    const key = `${look} ${size} ${scale}`;
    if (painted.current?.key !== key)
      painted.current = { pictures: makePictures(size, scale, canvas.current), key };
    const dirty = all ? undefined : zone.dirty;
    const one = (index: number) => {
      const cell = zone.cells[index];
      return {
        mark: cell?.mark ?? ("unknown" as const),
        dimmed: cell !== undefined && strong?.(cell) === false,
      };
    };
    paint(canvas.current, layout, scale, painted.current.pictures, cells, one, dirty);
    zone.dirty = new Set();
  };
  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    setWidth(element.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => draw(true), [width, size, cells, strong, look, scale]);
  // Between two renders of the view only what changed is painted.
  useSignalEffect(() => {
    if (model.machines.revision.value > 0) draw(false);
  });
  const index = Math.min(at, cells - 1);
  const cell = zone.cells[index];
  const go = (to: number, extend: boolean): void => {
    if (extend) props.onSelect(zone.cells.slice(Math.min(index, to), Math.max(index, to) + 1), true);
    setAt(to);
  };
  return (
    <div ref={frame} class="zone-grid">
      <div
        role="grid"
        aria-labelledby={labelledBy}
        aria-rowcount={layout.rows}
        aria-colcount={layout.columns}
        aria-multiselectable="true"
        class="cells"
        style={{ width: `${layout.width}px`, height: `${layout.height}px` }}
        onPointerMove={(event) => setHover(indexAt(event, layout, cells))}
        onPointerLeave={() => setHover(undefined)}
        onClick={(event) => {
          const to = indexAt(event, layout, cells);
          const clicked = to === undefined ? undefined : zone.cells[to];
          if (to === undefined || clicked === undefined) return;
          if (event.shiftKey) return go(to, true);
          setAt(to);
          if (event.ctrlKey || event.metaKey) props.onSelect([clicked], !selected.has(clicked.machine.uid));
          else props.onOpen(clicked);
          active.current?.focus();
        }}
        onKeyDown={(event) => {
          if (cell === undefined) return;
          const to = moved(index, event.key, event.ctrlKey, cells, layout.columns);
          if (to !== undefined) go(to, event.shiftKey);
          else if (event.key === "Enter") props.onOpen(cell);
          else if (event.key === " ") props.onSelect([cell], !selected.has(cell.machine.uid));
          else return;
          event.preventDefault();
        }}
      >
        <canvas
          ref={canvas}
          aria-hidden="true"
          style={{ width: `${layout.width}px`, height: `${layout.height}px` }}
        />
        {zone.cells
          .filter(({ machine }) => selected.has(machine.uid) || machine.uid === shown)
          .map((each) => (
            <Frame
              key={each.machine.uid}
              layout={layout}
              index={each.index}
              kind={each.machine.uid === shown ? "shown" : "chosen"}
            />
          ))}
        <div role="row" aria-rowindex={Math.floor(index / layout.columns) + 1}>
          {cell !== undefined && (
            <div
              ref={active}
              role="gridcell"
              tabIndex={0}
              class="active"
              aria-colindex={(index % layout.columns) + 1}
              aria-selected={selected.has(cell.machine.uid)}
              aria-label={labelOf(cell)}
              style={placeOf(layout, index)}
            />
          )}
        </div>
        {hover !== undefined && <Tip cell={zone.cells[hover]} layout={layout} index={hover} />}
      </div>
    </div>
  );
}

function indexAt(event: MouseEvent, layout: Layout, cells: number): number | undefined {
  const box = (event.currentTarget as Element).getBoundingClientRect();
  return cellAt(layout, event.clientX - box.left, event.clientY - box.top, cells);
}

function labelOf({ machine, mark }: Cell): string {
  const why = machine.reason === "" ? "" : `, ${machine.message || machine.reason}`;
  return `${machine.name}, ${LOOKS[mark].label}${why}`;
}

function placeOf({ columns, pitch, size }: Layout, index: number) {
  const [x, y] = [(index % columns) * pitch, Math.floor(index / columns) * pitch];
  return { width: `${size}px`, height: `${size}px`, transform: `translate(${x}px, ${y}px)` };
}

function Frame({ layout, index, kind }: { layout: Layout; index: number; kind: string }) {
  return <div aria-hidden="true" class={`frame ${kind}`} style={placeOf(layout, index)} />;
}

function Tip({ cell, layout, index }: { cell: Cell | undefined; layout: Layout; index: number }) {
  if (cell === undefined) return null;
  const { machine, mark } = cell;
  const [x, y] = [(index % layout.columns) * layout.pitch, Math.floor(index / layout.columns) * layout.pitch];
  const left = x > layout.width / 2;
  return (
    <div
      aria-hidden="true"
      class={`tip ${left ? "left" : ""}`}
      style={{ transform: `translate(${x}px, ${y + layout.pitch + 4}px)${left ? " translateX(-100%)" : ""}` }}
    >
      <b>{machine.name}</b> {LOOKS[mark].label}
      {machine.version === "" ? "" : `, ${machine.version}`}
    </div>
  );
}

/** Changes whenever the canvas's colours do. */
function useLook(): string {
  const queries = ["(prefers-color-scheme: dark)", "(forced-colors: active)"];
  const read = (): string => queries.map((query) => matchMedia(query).matches).join();
  const [look, setLook] = useState(read);
  useEffect(() => {
    const changed = (): void => setLook(read());
    const watched = queries.map((query) => matchMedia(query));
    for (const each of watched) each.addEventListener("change", changed);
    return () => {
      for (const each of watched) each.removeEventListener("change", changed);
    };
  }, []);
  return look;
}
