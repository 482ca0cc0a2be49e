// The page of an answer: brings its maps, its tree and its questions to life.

import { ask } from "./ask.js";
import { openComparison } from "./compare.js";
import { openCopies } from "./copy.js";
import { say } from "./say.js";
import { openAll } from "./stage.js";
import { openTree } from "./tree.js";
import { askWhatIf, openEasel } from "./what_if.js";

const asking = document.querySelector("#asking");
const brushes = new Map(); // by form

function open(root) {
  openAll(root);
  for (const decisions of root.querySelectorAll(".decisions")) openTree(decisions);
  for (const form of root.querySelectorAll("form[data-ask]")) {
    form.addEventListener("submit", question);
    if (form.dataset.ask === "what-if") brushes.set(form, openEasel(form, form.closest(".answer")));
  }
}

async function question(event) {
  event.preventDefault();
  const form = event.target;
  const answer = form.closest(".answer");
  if (answer.hasAttribute("aria-busy")) return;
  const fields = event.submitter?.name ? { [event.submitter.name]: event.submitter.value } : {};
  tell(say("Asking the network …"));
  answer.setAttribute("aria-busy", "true");
  try {
    if (form.dataset.ask === "what-if") await askWhatIf(form, brushes.get(form), answer, tell);
    else if (form.dataset.ask === "contrast") await openComparison(form, fields, answer, tell);
    else replace(answer, await ask(form, fields, tell));
    asking.hidden = true;
  } catch (problem) {
    complain(problem.message);
  } finally {
    answer.removeAttribute("aria-busy");
  }
}

// The answer to another question takes the place of the first, which can be had back.
function replace(answer, page) {
  const model = answer.dataset.model;
  const found = page.document.querySelector(`.answer[data-model="${CSS.escape(model)}"]`);
  const next = document.importNode(found, true);
  const bar = document.createElement("p");
  bar.className = "swapped";
  const back = document.createElement("button");
  back.type = "button";
  back.className = "small";
  back.textContent = say("Back to the answer before");
  back.addEventListener("click", () => {
    next.replaceWith(answer);
    answer.querySelector("h2").focus();
  });
  const own = document.createElement("a");
  own.href = page.address;
  own.textContent = say("This answer’s own page");
  bar.append(back, own);
  next.prepend(bar);
  answer.replaceWith(next);
  open(next);
  const heading = next.querySelector("h2");
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
}

// `address`: of the page of the job that is at work, where it can also be stopped.
function tell(text, address) {
  asking.textContent = text;
  asking.classList.remove("error");
  asking.hidden = false;
  if (!address) return;
  const link = document.createElement("a");
  link.href = address;
  link.textContent = say("Follow or stop it on its own page");
  asking.append(" ", link);
}

function complain(text) {
  tell(text);
  asking.classList.add("error");
  asking.scrollIntoView({ block: "nearest" });
}

open(document);
openCopies(document);
