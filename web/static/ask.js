// Another question about the picture of a job: sent as the form would be, answered by the new job's page.

import { follow } from "./events.js";
import { inWords } from "./progress.js";
import { say } from "./say.js";
import { token } from "./token.js";

// Thrown where the job was cancelled before it had an answer.
export class Stopped extends Error {}

// The document of the page that answers a form's question, and its address. Throws an Error with a sentence, or Stopped.
// Where it takes a while, `onWork` gets { words, address, stop }: what is being done, once that is known, the address of
// the job's page, and a function that cancels the job.
export async function ask(form, fields, onWork = () => {}) {
  const body = new FormData(form);
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  let page = await send(form.action, body);
  const waiting = page.document.querySelector("#follow");
  if (waiting) {
    if ((await end(waiting, page.address, onWork))?.status === "cancelled") throw new Stopped();
    page = await load(page.address);
  }
  if (!page.document.querySelector(".answer")) throw new Error(complaint(page.document));
  return page;
}

// The job of a page that waits for it, once it has ended.
function end(waiting, address, onWork) {
  const names = JSON.parse(waiting.dataset.stages);
  const form = waiting.querySelector("form");
  const stop = () => send(form.action, new FormData(form)).catch(() => {}); // the job goes on, as the page shows
  onWork({ address, stop });
  const onJob = ({ progress }) => progress && onWork({ words: inWords(progress, names), address, stop });
  return follow({ self: waiting.dataset.job, events: waiting.dataset.events }, { onJob });
}

const send = (address, body) => load(address, { method: "POST", body, headers: token() });

async function load(address, options) {
  let response;
  try {
    response = await fetch(address, { cache: "no-store", ...options });
  } catch {
    throw new Error(say("The server does not answer; check the connection and try again."));
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok) throw new Error(complaint(page));
  return { document: page, address: response.url };
}

const complaint = (page) =>
  page.querySelector(".lead")?.textContent ?? say("Something went wrong. Load the page again.");
