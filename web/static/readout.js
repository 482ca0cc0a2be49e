// The value of the cell under the pointer, or under a cursor that the arrow keys move.

import { say } from "./say.js";

const FLOAT_DIGITS = 7; // as many as a 32-bit float holds
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export function readout(view, map, mark, output) {
  const idle = output.textContent;
  let cursor = null;

  function show(cell) {
    mark.hidden = !cell;
    if (!cell) return (output.textContent = idle);
    for (const side of ["left", "top", "width", "height"]) mark.style[side] = `${cell[side] * 100}%`;
    output.textContent = say("Row {row}, column {column}: {value} {unit}, {share} of the scale", {
      row: cell.row + 1,
      column: cell.column + 1,
      value: digits(cell.value),
      unit: map.shown.unit,
      share: `${Math.round(cell.share * 100)}%`,
    });
  }

  view.addEventListener("pointermove", (event) => {
    const { left, top, width, height } = view.getBoundingClientRect();
    show(map.cellAt((event.clientX - left) / width, (event.clientY - top) / height));
  });
  view.addEventListener("pointerleave", () => show(null));
  map.canvas.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES) || !map.map) return;
    event.preventDefault();
    const [down, right] = cursor ? MOVES[event.key] : [0, 0];
    cursor ??= map.strongest();
    const inside = (at, count) => Math.min(Math.max(at, 0), count - 1);
    cursor = {
      row: inside(cursor.row + down, map.map.rows),
      column: inside(cursor.column + right, map.map.columns),
    };
    show(map.cell(cursor.row, cursor.column));
  });
  map.canvas.addEventListener("blur", () => show((cursor = null)));
}

const digits = (value) => String(Number(value.toPrecision(FLOAT_DIGITS))).replace("-", "\u2212");
