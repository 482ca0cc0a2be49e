// Draws this browser's history: every job that the server still has, with its picture and what came of it.

import { follow, hasEnded } from "./events.js";
import { inBrief } from "./headline.js";
import { forget, remembered } from "./history.js";
import { say } from "./say.js";

const THUMBNAIL_WIDTH = 192;
const list = document.querySelector("#history");
const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

const show = (selector, is) => (document.querySelector(selector).hidden = !is);

function draw({ id, filename, at }) {
  const item = document.querySelector("#entry").content.cloneNode(true).firstElementChild;
  item.querySelector("a").href = list.dataset.pages + id;
  item.querySelector("img").src = `${list.dataset.jobs}/${id}/artifacts/picture.jpg?width=${THUMBNAIL_WIDTH}`;
  item.querySelector(".entry-name").textContent = filename;
  item.querySelector("time").dateTime = at;
  item.querySelector("time").textContent = when.format(new Date(at));
  list.append(item);
  return item;
}

function outcome(job) {
  switch (job.status) {
    case "succeeded":
      return [...new Set(job.result.explanations.map(inBrief))].join("\n");
    case "queued":
      return say("Waiting");
    case "running":
      return say("Working");
    case "cancelled":
      return say("Cancelled");
    default:
      return say("Failed");
  }
}

// Says what came of a job, and goes on saying so until it has ended. By polling: a list would take too many streams.
function watch(job, answer) {
  answer.textContent = outcome(job);
  if (hasEnded(job)) return;
  follow({ self: job.links.self }, { onJob: (now) => (answer.textContent = outcome(now)) });
}

// The job; null where the server has it no more.
async function look(id) {
  const response = await fetch(`${list.dataset.jobs}/${id}`, { cache: "no-store" });
  if (response.status === 404 || response.status === 410) return null;
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

async function fill() {
  const items = remembered().map((entry) => ({ id: entry.id, item: draw(entry) }));
  const gone = [];
  show("#forget", items.length);
  for (const { id, item } of items) {
    const job = await look(id);
    if (job) watch(job, item.querySelector(".entry-answer"));
    else item.remove();
    if (!job) gone.push(id);
  }
  forget(gone);
  show("#gone", gone.length);
  document.querySelector("#gone").textContent = say("No longer kept by the server, and taken off the list: {count}.", { count: gone.length });
  show("#empty", !list.children.length);
  show("#forget", list.children.length);
}

document.querySelector("#forget").addEventListener("click", () => {
  forget(remembered().map(({ id }) => id));
  list.replaceChildren();
  show("#forget", false);
  show("#empty", true);
});

fill().catch(() => {
  document.querySelector("#trouble").textContent = say("The server does not answer just now; load the page again.");
  show("#trouble", true);
});
