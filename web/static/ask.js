// Another question about the picture of a job: sent as the form would be, answered by the new job's page.

import { follow } from "./events.js";
import { inWords } from "./progress.js";
import { say } from "./say.js";

// The document of the page that answers a form's question, and its address. Throws an Error with a sentence.
// Where it takes a while, `onProgress` gets what is being done, in words, and the address of the job's page.
export async function ask(form, fields, onProgress = () => {}) {
  const body = new FormData(form);
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  let page = await load(form.action, { method: "POST", body });
  const waiting = page.document.querySelector("#follow");
  if (waiting) {
    const names = JSON.parse(waiting.dataset.stages);
    const onJob = ({ progress }) => progress && onProgress(inWords(progress, names), page.address);
    await follow({ self: waiting.dataset.job, events: waiting.dataset.events }, { onJob });
    page = await load(page.address);
  }
  if (!page.document.querySelector(".answer")) throw new Error(complaint(page.document));
  return page;
}

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
