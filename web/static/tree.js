// The decision path: choosing a decision shows its map on the stage beside it.

import { say } from "./say.js";
import { show } from "./stage.js";

export function openTree(decisions) {
  const stage = decisions.querySelector(".stage");
  if (!stage) return;
  const caption = decisions.querySelector("[data-part=caption]");
  const steps = [...decisions.querySelectorAll("[data-step]")];

  function choose(step) {
    for (const each of steps) each.setAttribute("aria-pressed", String(each === step));
    const shown = JSON.parse(step.dataset.step);
    caption.textContent = say("{map}. {colours}", { map: shown.alt, colours: shown.caption });
    show(stage, shown);
  }

  steps.forEach((step, number) => {
    step.setAttribute("role", "button");
    step.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return; // its picture in a tab of its own
      event.preventDefault();
      choose(step);
    });
    step.addEventListener("keydown", (event) => {
      const next = { ArrowUp: steps[number - 1], ArrowDown: steps[number + 1], " ": step }[event.key];
      if (!next) return;
      event.preventDefault();
      next.focus();
      choose(next);
    });
  });
  choose(steps.find((step) => "first" in step.dataset) ?? steps[0]);
}
