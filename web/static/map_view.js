// A map laid over its picture: drawn on a canvas from the raw values, as the server draws it.

import { DIVERGING, table } from "./colours.js";
import { fetchMap } from "./npy.js";

const WIDEST = 640; // drawn pixels
const UNSEEN = 0.6; // how far the part that the network did not see is dimmed
const finite = (value) => (Number.isFinite(value) ? value : 0);

export class MapView {
  // What is shown: { raw, box, size, contrast, top }: the address of the values, the part of the picture they lie over,
  // and the value that has the last colour.
  constructor(canvas) {
    this.canvas = canvas;
    this.opacity = 0.6;
    this.colours = "inferno";
  }

  async show(shown) {
    this.wanted = shown;
    const map = await fetchMap(shown.raw);
    if (this.wanted !== shown) return; // another map was asked for meanwhile
    this.shown = shown;
    this.map = map;
    this.top = shown.top;
    await this.draw();
  }

  async draw() {
    if (!this.shown) return;
    const { size, box, contrast } = this.shown;
    const colours = await table(contrast ? DIVERGING : this.colours);
    const factor = Math.min(1, WIDEST / size[0]);
    const [width, height] = size.map((side) => Math.max(1, Math.round(side * factor)));
    const [x0, y0, x1, y1] = box.map((edge) => Math.round(edge * factor));
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    context.fillStyle = `rgb(0 0 0 / ${UNSEEN})`;
    context.fillRect(0, 0, width, height);
    context.putImageData(this.picture(colours, Math.max(1, x1 - x0), Math.max(1, y1 - y0)), x0, y0);
  }

  // The map alone at so many pixels; opacity grows with the evidence.
  picture(colours, width, height) {
    const { contrast } = this.shown;
    const last = colours.length / 4 - 1;
    return this.painted(width, height, (value) => {
      const from = 4 * Math.round(value * last);
      const strength = contrast ? Math.abs(2 * value - 1) : value;
      return [colours[from], colours[from + 1], colours[from + 2], 255 * this.opacity * strength];
    });
  }

  // Pixels with the RGBA of their share of the scale, which is bilinear between the centres of the cells.
  painted(width, height, colourOf) {
    const { rows, columns, values } = this.map;
    const shares = Float32Array.from(values, (value) => share(finite(value), this.top, this.shown.contrast));
    const across = places(columns, width);
    const down = places(rows, height);
    const image = new ImageData(width, height);
    for (let y = 0, to = 0; y < height; y++) {
      const [above, below, lower] = down[y];
      for (let x = 0; x < width; x++, to += 4) {
        const [left, right, more] = across[x];
        const upper = mixed(shares[above * columns + left], shares[above * columns + right], more);
        const under = mixed(shares[below * columns + left], shares[below * columns + right], more);
        image.data.set(colourOf(mixed(upper, under, lower)), to);
      }
    }
    return image;
  }

  // A canvas of so many pixels, white where the map is at least `threshold` of its maximum.
  region(threshold, width, height) {
    const { size, box } = this.shown;
    const region = new OffscreenCanvas(width, height);
    const [x0, y0, x1, y1] = box.map((edge, axis) => Math.round((edge / size[axis % 2]) * [width, height][axis % 2]));
    const image = this.painted(x1 - x0, y1 - y0, (value) => [255, 255, 255, value >= threshold && this.top ? 255 : 0]);
    region.getContext("2d").putImageData(image, x0, y0);
    return region;
  }

  // The cell at a place of the picture (shares of its width and height), or null where the network saw nothing.
  cellAt(x, y) {
    if (!this.map) return null;
    const [x0, y0, x1, y1] = this.shown.box;
    const column = Math.floor(((x * this.shown.size[0] - x0) / (x1 - x0)) * this.map.columns);
    const row = Math.floor(((y * this.shown.size[1] - y0) / (y1 - y0)) * this.map.rows);
    const inside = row >= 0 && column >= 0 && row < this.map.rows && column < this.map.columns;
    return inside ? this.cell(row, column) : null;
  }

  // A cell with its value as stored, its share of the scale, and where it lies, as shares of the picture.
  cell(row, column) {
    const [x0, y0, x1, y1] = this.shown.box;
    const width = (x1 - x0) / this.map.columns / this.shown.size[0];
    const height = (y1 - y0) / this.map.rows / this.shown.size[1];
    const value = this.map.values[row * this.map.columns + column];
    const left = x0 / this.shown.size[0] + column * width;
    const top = y0 / this.shown.size[1] + row * height;
    return { row, column, value, share: this.top ? value / this.top : 0, left, top, width, height };
  }

  strongest() {
    const at = this.map.values.indexOf(Math.max(...this.map.values));
    return { row: Math.floor(at / this.map.columns), column: at % this.map.columns };
  }
}

const mixed = (a, b, more) => a + (b - a) * more;

function share(value, top, contrast) {
  if (top === 0) return contrast ? 0.5 : 0;
  const clipped = Math.min(Math.max(value / top, contrast ? -1 : 0), 1);
  return contrast ? (clipped + 1) / 2 : clipped;
}

// For each pixel, the two cells between whose centres it lies, and how far it is towards the second.
function places(cells, pixels) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = Math.min(Math.max(((pixel + 0.5) / pixels) * cells - 0.5, 0), cells - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, cells - 1), at - first];
  });
}
