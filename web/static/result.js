// The page of an answer: brings its maps, its tree and its questions to life.

import { ask, Stopped } from "./ask.js";
import { begin, complain, end, report } from "./asking.js";
import { openComparison } from "./compare.js";
import { openCopies } from "./copy.js";
import { say } from "./say.js";
import { openAll } from "./stage.js";
import { step } from "./trail.js";
import { openTree } from "./tree.js";
import { askWhatIf, openMaskEditor } from "./what_if.js";

const brushes = new Map(); // by form

function open(root) {
  openAll(root);
  for (const decisions of root.querySelectorAll(".decisions")) openTree(decisions);
  for (const form of root.querySelectorAll("form[data-ask]")) {
    form.addEventListener("submit", question);
    if (form.dataset.ask === "what-if") brushes.set(form, openMaskEditor(form, form.closest(".answer")));
  }
}

async function question(event) {
  event.preventDefault();
  const form = event.target;
  const answer = form.closest(".answer");
  if (answer.hasAttribute("aria-busy")) return;
  const fields = event.submitter?.name ? { [event.submitter.name]: event.submitter.value } : {};
  begin();
  answer.setAttribute("aria-busy", "true");
  try {
    if (form.dataset.ask === "what-if") await askWhatIf(form, brushes.get(form), answer, report);
    else if (form.dataset.ask === "contrast") await openComparison(form, answer, report);
    else replace(answer, await ask(form, fields, report));
    end();
  } catch (problem) {
    if (problem instanceof Stopped) end();
    else complain(problem.message);
  } finally {
    answer.removeAttribute("aria-busy");
  }
}

// The answer to another question takes the place of the first, which can be had back.
function replace(answer, page) {
  const found = page.document.querySelector(`.answer[data-model="${CSS.escape(answer.dataset.model)}"]`);
  const next = document.importNode(found, true);
  keepVerdict(answer, next);
  next.prepend(wayBack(answer, next, page));
  step({
    does: () => swap(answer, next),
    undoes: () => swap(next, answer),
    address: page.address,
    title: page.document.title,
  });
  open(next);
}

// The image and the model are the same, so the verdict is: the new job alone has not asked the other models.
function keepVerdict(answer, next) {
  const [known, alone] = [answer, next].map((one) => one.querySelector(".verdict"));
  if (known && alone) alone.replaceWith(known.cloneNode(true));
}

function wayBack(answer, next, page) {
  const before = { address: location.href, title: document.title };
  const bar = document.createElement("p");
  bar.className = "swapped";
  const back = document.createElement("button");
  back.type = "button";
  back.className = "small";
  back.textContent = say("Back to the answer before");
  back.addEventListener("click", () =>
    step({ does: () => swap(next, answer), undoes: () => swap(answer, next), ...before }),
  );
  const own = document.createElement("a");
  own.href = page.address;
  own.textContent = say("This answer’s own page");
  bar.append(back, own);
  return bar;
}

function swap(old, next) {
  old.replaceWith(next);
  const heading = next.querySelector("h2");
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
}

open(document);
openCopies(document);
