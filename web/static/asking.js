// The bar that says what is being asked: how far it is, where it can be followed, and a button that stops it.

import { say } from "./say.js";

const bar = document.querySelector("#asking");
const part = (name) => bar.querySelector(`[data-part=${name}]`);
const stops = new Map(); // of the jobs at work, by the address of their pages
let open = false; // whether an answer is still waited for

function tell(text, isError) {
  part("words").textContent = text;
  bar.classList.toggle("error", isError);
  bar.hidden = false;
}

export function begin() {
  open = true;
  stops.clear();
  part("job").hidden = true;
  part("stop").disabled = false;
  tell(say("Asking the network …"), false);
}

// A job at work, as `ask` reports it.
export function report({ words, address, stop }) {
  if (!open) return; // the question has failed or was stopped, of which this is a part
  if (part("stop").disabled && !stops.has(address)) stop(); // began after the reader had had enough
  stops.set(address, stop);
  part("page").href = address;
  part("job").hidden = false;
  if (words) tell(words, false);
}

export function end() {
  open = false;
  bar.hidden = true;
}

export function complain(text) {
  open = false;
  part("job").hidden = true;
  tell(text, true);
  bar.scrollIntoView({ block: "nearest" });
}

part("stop").addEventListener("click", () => {
  part("stop").disabled = true;
  for (const stop of stops.values()) stop();
});
