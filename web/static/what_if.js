// What if a part of the picture were hidden? The editor of the mask, and the answer beside the one before.

import { ask } from "./ask.js";
import { Brush } from "./brush.js";
import { MapView } from "./map_view.js";
import { fetchMap } from "./npy.js";
import { openPanel } from "./panel.js";
import { say } from "./say.js";
import { openAll } from "./stage.js";

const HOT = 0.5; // of the map's maximum

export function openMaskEditor(form, answer) {
  const part = (name) => form.querySelector(`[data-part=${name}]`);
  const canvas = part("brush");
  const button = part("ask");
  const brush = new Brush(canvas, JSON.parse(canvas.dataset.size), () => (button.disabled = brush.isEmpty));
  part("width").addEventListener("input", (event) => (brush.width = event.target.value / 100));
  part("undo").addEventListener("click", () => brush.undo());
  part("clear").addEventListener("click", () => brush.clear());
  const hottest = form.querySelector("[name=hide]"); // none where no part of the map speaks for the class
  if (hottest) hottest.type = "button";
  hottest?.addEventListener("click", () => paintHottest(brush, answer));
  for (const scripted of form.querySelectorAll("[data-script]")) scripted.hidden = false;
  return brush;
}

// The hottest region of the answer's first map, as the server finds it, for the reader to see and to change.
async function paintHottest(brush, answer) {
  const view = new MapView(new OffscreenCanvas(1, 1));
  const shown = JSON.parse(answer.querySelector(".evidence .stage").dataset.map);
  const { values } = await fetchMap(shown.raw);
  // What speaks for the class, also where two are contrasted.
  await view.show({ ...shown, contrast: false, top: Math.max(0, ...values.filter(Number.isFinite)) });
  const region = view.region(HOT, brush.canvas.width, brush.canvas.height);
  brush.add((context) => context.drawImage(region, 0, 0));
}

export async function askWhatIf(form, brush, answer, onWork) {
  const page = await ask(form, { mask: await brush.mask() }, onWork);
  const model = CSS.escape(answer.dataset.model);
  const found = page.document.querySelector(`.answer[data-model="${model}"] .differences`);
  const differences = document.importNode(found, true);
  const own = differences.querySelector("h3 a");
  own.href = page.address;
  own.textContent = say("This answer’s own page");
  openPanel(differences, form, page);
  openAll(differences);
}
