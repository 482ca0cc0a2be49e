// The form's comforts: drop, paste, preview, and sending without leaving the page until the job is accepted.

import { remember } from "./history.js";

const form = document.querySelector("#submit");
const input = form.querySelector("#image");
const zone = form.querySelector("#zone");
const hint = form.querySelector("#hint");
const preview = form.querySelector("#preview");
const error = form.querySelector("#error");
const title = form.querySelector("#title");
const name = form.querySelector("#name");
const again = form.querySelector("#again");
const limits = form.querySelector("#limits");
const send = form.querySelector("#send");

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function show(text) {
  error.hidden = !text;
  error.textContent = text ? sentence(text) : "";
  if (text) error.scrollIntoView({ block: "nearest" });
}

function showPreview() {
  const file = input.files[0];
  if (preview.src) URL.revokeObjectURL(preview.src);
  for (const part of [preview, name, again]) part.hidden = !file;
  for (const part of [hint, title, limits]) part.toggleAttribute("hidden", Boolean(file));
  name.textContent = file ? file.name : "";
  if (!file) return preview.removeAttribute("src");
  preview.alt = `Preview of ${file.name}`;
  preview.src = URL.createObjectURL(file);
}

function take(files) {
  if (!files.length) return;
  const chosen = new DataTransfer();
  chosen.items.add(files[0]);
  input.files = chosen.files;
  input.dispatchEvent(new Event("change"));
}

function objection() {
  const file = input.files[0];
  const most = Number(form.dataset.mostBytes);
  if (!file) return "choose a picture first";
  if (file.size > most) return `the picture is larger than ${most / 2 ** 20} MiB`;
  if (!form.querySelector("[name=models]:checked")) return "choose at least one model, under Options";
  return "";
}

function body() {
  const data = new FormData(form);
  for (const own of form.querySelectorAll("[data-own]")) data.delete(own.name);
  return data;
}

// Of a session, where keys are required.
function token() {
  const held = document.querySelector("meta[name=csrf-token]");
  return held ? { "X-CSRF-Token": held.content } : {};
}

async function submit() {
  const response = await fetch(form.dataset.api, { method: "POST", body: body(), headers: token() });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  remember(answer);
  return answer.links.page;
}

function busy(is) {
  send.disabled = is;
  send.textContent = is ? "Sending…" : "Explain";
}

async function explain(event) {
  event.preventDefault();
  show(objection());
  if (!error.hidden) return;
  busy(true);
  try {
    location.assign(await submit());
  } catch (problem) {
    busy(false);
    const away = problem instanceof TypeError || problem instanceof SyntaxError;
    show(away ? "the server does not answer; check the connection and try again" : problem.message);
  }
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

form.addEventListener("submit", explain);
input.addEventListener("change", () => {
  show("");
  showPreview();
});
preview.addEventListener("error", () => {
  preview.hidden = true;
  hint.removeAttribute("hidden");
});
addEventListener("paste", (event) => take(event.clipboardData.files));
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) zone.classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("pageshow", () => {
  if (send.textContent !== "Explain") busy(false);
  showPreview();
});
for (const part of form.querySelectorAll("[data-script]")) part.hidden = false;
for (const part of form.querySelectorAll("[data-plain]")) part.hidden = true;
zone.classList.add("scripted");
