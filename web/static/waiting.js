// The page of a job on its way: shows how far it is, then loads the page again, since the server draws every result.

import { follow } from "./events.js";
import { duration } from "./duration.js";
import { inWords } from "./progress.js";
import { say } from "./say.js";

const panel = document.querySelector("#follow");
const trouble = document.querySelector("#trouble");
const bar = document.querySelector("#progress");
const stages = JSON.parse(panel.dataset.stages);
const title = document.title;
const LEAVING_MS = 5000; // within which another page comes, if one comes
let left = 0; // when the reader last set out for another page

function write(id, words) {
  const element = document.getElementById(id);
  if (element.textContent !== words) element.textContent = words;
}

function show(job) {
  trouble.hidden = true;
  for (const part of panel.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== job.status;
  panel.querySelector("[data-unserved]").hidden = !job.queue?.reason;
  if (job.queue) {
    write("position", String(job.queue.position));
    write("eta", duration(job.queue.eta_seconds));
    document.title = `(${job.queue.position}) ${title}`;
  }
  const { done, total } = job.progress ?? {};
  if (!total) return;
  write("stage", inWords(job.progress, stages));
  [bar.max, bar.value] = [total, done];
  document.title = `${Math.floor((100 * done) / total)}% · ${title}`;
}

function complain(problem, wait) {
  const reason = problem.message.startsWith("status") ? ` (${problem.message})` : "";
  trouble.textContent = say(
    "The server does not answer just now{reason}. The job is not lost; trying again in {time}.",
    { reason, time: duration(wait / 1000) },
  );
  trouble.hidden = false;
}

addEventListener("beforeunload", () => (left = Date.now()));
await follow({ self: panel.dataset.job, events: panel.dataset.events }, { onJob: show, onTrouble: complain });
// To load this page now would call back whoever is on the way to another.
while (Date.now() - left < LEAVING_MS) await new Promise((resolve) => setTimeout(resolve, 100));
location.reload();
