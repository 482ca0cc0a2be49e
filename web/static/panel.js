// A panel below a question with what came of it, in place of the panel before.

import { step } from "./trail.js";

// `page`: of the answer, as `ask` gives it.
export function openPanel(panel, question, page) {
  const next = question.nextElementSibling;
  const before = next?.className === panel.className ? next : null;
  step({
    does() {
      before?.remove();
      question.after(panel);
      panel.scrollIntoView({ block: "nearest" });
    },
    undoes() {
      panel.remove();
      if (before) question.after(before);
    },
    address: page.address,
    title: page.document.title,
  });
}
