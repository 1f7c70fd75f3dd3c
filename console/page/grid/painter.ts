/** Draws cells on a canvas from small pictures that are made once, so that 5,000 of them cost a frame little. */
import { LOOKS, MARKS, type Mark } from "../mark.ts";
import type { Layout } from "./layout.ts";

type Pictures = Record<Mark, HTMLCanvasElement>;

/** A picture of each mark in the colours that the style sheet has now. `scale`: device pixels to a CSS pixel. */
export function makePictures(size: number, scale: number, styled: Element): Pictures {
  const style = getComputedStyle(styled);
  const pictures = MARKS.map((mark) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.round(size * scale);
    const pen = canvas.getContext("2d");
    if (pen !== null) draw(pen, mark, size, scale, style);
    return [mark, canvas] as const;
  });
  return Object.fromEntries(pictures) as Pictures;
}

function draw(
  pen: CanvasRenderingContext2D,
  mark: Mark,
  size: number,
  scale: number,
  style: CSSStyleDeclaration,
): void {
  const colour = (part: string): string => style.getPropertyValue(`--${mark}-${part}`).trim();
  pen.scale(scale, scale);
  pen.beginPath();
  pen.roundRect(0.5, 0.5, size - 1, size - 1, 2);
  pen.fillStyle = colour("fill");
  pen.fill();
  pen.strokeStyle = colour("line");
  pen.lineWidth = 1;
  pen.stroke();
  pen.fillStyle = colour("ink");
  pen.font = `700 ${Math.round(size * 0.66)}px ${style.fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(LOOKS[mark].glyph, size / 2, size / 2 + size * 0.05);
}

export interface Picture {
  mark: Mark;
  dimmed: boolean;
}

/** Paints the cells at `indexes`, or all of them on a cleared canvas. */
export function paint(
  canvas: HTMLCanvasElement,
  layout: Layout,
  scale: number,
  pictures: Pictures,
  cells: number,
  cellAt: (index: number) => Picture,
  indexes: ReadonlySet<number> | undefined,
): void {
  const pen = canvas.getContext("2d");
  if (pen === null) return;
  if (indexes === undefined) {
    // Also clears it.
    canvas.width = Math.round(layout.width * scale);
    canvas.height = Math.round(layout.height * scale);
    for (let index = 0; index < cells; index++) one(index);
    return;
  }
  for (const index of indexes) {
    if (index < cells) one(index);
  }

  function one(index: number): void {
    if (pen === null) return;
    const x = Math.round((index % layout.columns) * layout.pitch * scale);
    const y = Math.round(Math.floor(index / layout.columns) * layout.pitch * scale);
    const { mark, dimmed } = cellAt(index);
    const picture = pictures[mark];
    pen.clearRect(x, y, picture.width, picture.height);
    pen.globalAlpha = dimmed ? 0.18 : 1;
    pen.drawImage(picture, x, y);
  }
}
