// The pictures that are chosen: dropped, pasted, picked or photographed, and shown before they are sent.

import { say } from "./say.js";

const SHOWN = 12;

export function choosePictures(form, onChange) {
  const input = form.querySelector("#image");
  const camera = form.querySelector("#camera");
  const zone = form.querySelector("#zone");
  const previews = form.querySelector("#previews");
  const name = form.querySelector("#name");
  const atFirst = form.querySelectorAll("#hint, #title, #limits");
  const later = form.querySelectorAll("#previews, #name, #again");

  function take(files) {
    if (!files.length) return;
    const chosen = new DataTransfer();
    for (const file of files) chosen.items.add(file);
    input.files = chosen.files;
    show();
    onChange();
  }

  function show() {
    const files = [...input.files];
    for (const part of later) part.hidden = !files.length;
    for (const part of atFirst) part.toggleAttribute("hidden", files.length > 0);
    for (const image of previews.children) URL.revokeObjectURL(image.src);
    previews.replaceChildren(...files.slice(0, SHOWN).map(preview));
    name.textContent = files.length > 1 ? say("{count} pictures", { count: files.length }) : (files[0]?.name ?? "");
  }

  function preview(file) {
    const image = new Image();
    image.alt = say("Preview of {name}", { name: file.name });
    image.addEventListener("error", () => image.remove()); // the server says what is wrong with it
    image.src = URL.createObjectURL(file);
    return image;
  }

  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

  input.addEventListener("change", () => {
    show();
    onChange();
  });
  camera.addEventListener("change", () => take(camera.files));
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
  addEventListener("pageshow", show); // a browser that goes back keeps the files
  zone.classList.add("scripted");
  return () => [...input.files];
}
