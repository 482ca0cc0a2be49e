// Colour tables: the server's own, read from its strips, so that page and downloads show the same colours.

const CHOSEN = "pathlight-colours"; // the reader's choice, kept by the browser
export const DIVERGING = "RdBu_r";

const kept = new Map();

export const address = (name) => new URL(`../colours/${name}.png`, import.meta.url).href;

// The table of a name: RGBA bytes from the lowest value to the highest.
export function table(name) {
  if (!kept.has(name)) kept.set(name, read(name));
  return kept.get(name);
}

async function read(name) {
  const strip = new Image();
  strip.src = address(name);
  await strip.decode();
  const canvas = new OffscreenCanvas(strip.naturalWidth, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(strip, 0, 0, canvas.width, 1, 0, 0, canvas.width, 1);
  return context.getImageData(0, 0, canvas.width, 1).data;
}

// A browser may forbid a page to keep anything; then the choice lasts as long as the page.
export function chosen() {
  try {
    return localStorage.getItem(CHOSEN) ?? "inferno";
  } catch {
    return "inferno";
  }
}

export function choose(name) {
  try {
    localStorage.setItem(CHOSEN, name);
  } catch {
    // see above
  }
}
