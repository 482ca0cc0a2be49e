// A stage: a picture with its map, and the sliders and choices beside it.

import { address, choose, chosen, DIVERGING } from "./colours.js";
import { MapView } from "./map_view.js";
import { readout } from "./readout.js";
import { say } from "./say.js";
import { wipe } from "./wipe.js";

const part = (stage, name) => stage.querySelector(`[data-part=${name}]`);
const stages = new Map();

// The view of a stage's element; made at the first call.
export function stageOf(element) {
  if (!stages.has(element)) stages.set(element, begin(element));
  return stages.get(element);
}

export function openAll(root) {
  for (const element of root.querySelectorAll(".stage")) {
    if (element.dataset.map) show(element, JSON.parse(element.dataset.map));
  }
}

// Show another map on a stage: what `data-map` holds.
export async function show(element, shown) {
  const map = stageOf(element);
  const trouble = part(element, "trouble");
  try {
    await map.show(shown);
    part(element, "tools").hidden = false;
    trouble.hidden = true;
  } catch {
    trouble.textContent = say("The map could not be loaded. Load the page again.");
    trouble.hidden = false;
    return;
  }
  map.canvas.setAttribute("aria-label", shown.alt);
  part(element, "colours").parentElement.hidden = shown.contrast; // two things have one table, of two colours
  legend(element, map);
}

function begin(element) {
  const canvas = part(element, "map");
  canvas.hidden = false;
  const view = part(element, "view");
  const map = new MapView(canvas);
  const opacity = part(element, "opacity");
  const colours = part(element, "colours");
  map.colours = colours.value = chosen();
  map.opacity = opacity.value / 100;
  opacity.addEventListener("input", () => {
    map.opacity = opacity.value / 100;
    map.draw();
  });
  colours.addEventListener("change", () => {
    choose(colours.value);
    for (const [each, other] of stages) recolour(each, other, colours.value);
  });
  wipe(view, canvas, part(element, "wipe"));
  readout(view, map, part(element, "cell"), part(element, "readout"));
  return map;
}

// The legend follows the drawing: what it names is always what is to be seen.
async function recolour(element, map, name) {
  map.colours = part(element, "colours").value = name;
  await map.draw();
  legend(element, map);
}

function legend(element, map) {
  if (!map.shown) return;
  part(element, "legend").hidden = map.top === 0;
  part(element, "low").textContent = map.shown.low;
  part(element, "high").textContent = map.shown.high;
  part(element, "unit").textContent = map.shown.unit;
  part(element, "ramp").src = address(map.shown.contrast ? DIVERGING : map.colours);
}
