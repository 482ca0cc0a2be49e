// "Why this and not that?" side by side: the map of each class on one scale, and the map of their difference.

import { ask } from "./ask.js";
import { openPanel } from "./panel.js";
import { show } from "./stage.js";
import { say } from "./say.js";

const RUNNER_UP = "runner-up"; // as the API writes it

export async function openComparison(form, answer, onWork) {
  const { target, contrast } = Object.fromEntries(new FormData(form));
  const other = contrast.trim() === RUNNER_UP ? form.elements.contrast.dataset.runnerUp : contrast;
  const pages = await Promise.all([
    ask(form, { target, contrast: "" }, onWork),
    ask(form, { target: other, contrast: "" }, onWork),
    ask(form, { target, contrast: other }, onWork),
  ]);
  const parts = pages.map((page) => evidenceOf(page, answer.dataset.model));
  const shown = parts.map((part) => JSON.parse(part.querySelector(".stage").dataset.map));
  shareScale(shown[0], shown[1]);
  const panel = document.createElement("div");
  panel.className = "comparison";
  const link = document.createElement("a");
  link.href = pages[2].address;
  link.textContent = say("The comparison’s own page");
  parts.forEach((part, number) => panel.append(column(part, shown[number])));
  panel.append(link);
  openPanel(panel, form.closest(".columns"), pages[2]);
  panel.querySelectorAll(".stage").forEach((stage, number) => show(stage, shown[number]));
}

const evidenceOf = (page, model) =>
  document.importNode(page.document.querySelector(`.answer[data-model="${CSS.escape(model)}"] .evidence`), true);

// Two maps can be compared by eye only where the same colour means the same value.
function shareScale(...shown) {
  const { top, high } = shown.reduce((most, one) => (one.top > most.top ? one : most));
  for (const one of shown) Object.assign(one, { top, high });
}

function column(part, shown) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = shown.subject;
  figure.append(caption, part.querySelector(".stage"), part.querySelector(".proofs"));
  return figure;
}
