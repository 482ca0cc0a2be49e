// The form: sends one picture and shows its job, or many one by one and shows them as a list.

import { remember } from "./history.js";
import { choosePictures } from "./pictures.js";
import { say, translateCode } from "./say.js";
import { token } from "./token.js";

const form = document.querySelector("#submit");
const error = form.querySelector("#error");
const send = form.querySelector("#send");
const sent = form.querySelector("#sent");
const list = sent.querySelector("ul");
const together = form.querySelector("#together");
const label = send.textContent;
const mostBytes = Number(form.dataset.mostBytes);
const mostTogether = Number(form.dataset.mostTogether);

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?。！？]$/.test(text) ? "" : ".");

function complain(text) {
  error.hidden = !text;
  error.textContent = text ? sentence(text) : "";
  if (text) error.scrollIntoView({ block: "nearest" });
}

const chosen = choosePictures(form, () => complain(""));

function objection(files) {
  if (!files.length) return say("Choose a picture first.");
  if (files.length > mostTogether) return say("Choose at most {most} pictures at once.", { most: mostTogether });
  if (!form.querySelector("[name=models]:checked")) return say("Choose at least one model, under Options.");
  return "";
}

function body(file) {
  const data = new FormData(form);
  for (const own of form.querySelectorAll("[data-own]")) data.delete(own.name);
  data.set("image", file);
  for (const field of form.querySelectorAll("[data-default]")) {
    if (!field.value.trim()) data.set(field.name, field.dataset.default);
  }
  return data;
}

// The job of a picture. Throws an Error with a sentence.
async function submit(file) {
  if (file.size > mostBytes) {
    throw new Error(say("The picture is larger than {most} MiB.", { most: mostBytes / 2 ** 20 }));
  }
  let response;
  let answer;
  try {
    response = await fetch(form.dataset.api, { method: "POST", body: body(file), headers: token() });
    answer = await response.json();
  } catch {
    throw new Error(say("The server does not answer; check the connection and try again."));
  }
  if (!response.ok) throw new Error(translateCode(answer.code, answer.detail));
  remember(answer);
  return answer;
}

// The server has the picture: the form is sent as it would be without scripts.
async function explainSample(button) {
  let response;
  try {
    response = await fetch(form.action, { method: "POST", body: new FormData(form, button), headers: token() });
  } catch {
    return complain(say("The server does not answer; check the connection and try again."));
  }
  if (!response.redirected) {
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return complain(page.querySelector("#error")?.textContent ?? response.statusText);
  }
  const id = new URL(response.url).pathname.split("/").pop();
  remember({ id, image: { filename: button.textContent.trim() }, created_at: new Date().toISOString() });
  location.assign(response.url);
}

function busy(is) {
  send.disabled = is;
  send.textContent = is ? say("Sending …") : label;
}

async function explainMany(files) {
  sent.hidden = false;
  list.replaceChildren();
  const ids = [];
  let refused = 0;
  for (const file of files) {
    const item = row(file);
    try {
      const job = await submit(file);
      ids.push(job.id);
      settle(item, say("Sent"), job.links.page);
    } catch (problem) {
      refused += 1;
      settle(item, sentence(problem.message));
    }
    together.href = `${form.dataset.several}?${new URLSearchParams(ids.map((id) => ["job", id]))}`;
  }
  together.hidden = !ids.length;
  if (!refused) return location.assign(together.href);
  complain(say("{refused} of {count} pictures were refused; the list says why.", { refused, count: files.length }));
}

function row(file) {
  const item = document.createElement("li");
  const image = new Image();
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.addEventListener("error", () => image.remove());
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = file.name;
  const state = document.createElement("p");
  state.textContent = say("Sending …");
  item.append(image, name, state);
  list.append(item);
  return item;
}

function settle(item, text, address) {
  const state = item.querySelector("p");
  state.textContent = text;
  state.classList.toggle("error", !address);
  state.classList.toggle("notice", !address);
  if (!address) return;
  const link = document.createElement("a");
  link.href = address;
  item.prepend(link);
  link.append(...item.querySelectorAll("img, .name"));
}

async function explain(event) {
  event.preventDefault();
  if (event.submitter?.name === "sample") return explainSample(event.submitter);
  const files = chosen();
  complain(objection(files));
  if (!error.hidden) return;
  busy(true);
  try {
    if (files.length > 1) await explainMany(files);
    else location.assign((await submit(files[0])).links.page);
  } catch (problem) {
    complain(problem.message);
  } finally {
    busy(false);
  }
}

form.addEventListener("submit", explain);
for (const part of form.querySelectorAll("[data-script]")) part.hidden = false;
for (const part of form.querySelectorAll("[data-plain]")) part.hidden = true;
