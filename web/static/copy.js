// Buttons that copy a command.

import { say } from "./say.js";

export function openCopies(root) {
  if (!navigator.clipboard) return; // without a secure connection there is none
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = say("Copied");
    });
  }
}
