// What was shown in place, in the browser's history: Back undoes a step, Forward does it again. The address of a step is
// that of its answer's own page, which a reload shows.

const life = performance.timeOrigin; // of this document: it cannot undo the steps of another
const steps = [];
const titles = [document.title];
let at = 0; // how many of the steps are done

// `does` shows something and `undoes` takes it back; both may be called many times, in turn.
export function step({ does, undoes, address, title }) {
  steps.splice(at, Infinity, { does, undoes });
  titles.splice(at + 1, Infinity, title);
  at += 1;
  history.pushState({ life, at }, "", address);
  document.title = title;
  does();
}

addEventListener("popstate", ({ state }) => {
  if (!state) return; // another place of the same page
  if (state.life !== life) return location.reload();
  while (at > state.at) steps[--at].undoes();
  while (at < state.at) steps[at++].does();
  document.title = titles[at];
});

history.replaceState({ life, at }, "");
