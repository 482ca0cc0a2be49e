// The page of the models while one is being fetched: looks again until all have ended. The server draws every state.

const PAUSE_MS = 1000;

const waiting = () => document.querySelector(".fetch[data-waiting]") !== null;

async function look() {
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!page.querySelector("section.card")) location.reload(); // the session has ended
  for (const old of document.querySelectorAll("section.card")) {
    const next = page.getElementById(old.id);
    if (next && old.innerHTML !== next.innerHTML) old.replaceWith(document.importNode(next, true));
  }
}

while (waiting()) {
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  await look().catch(() => {}); // the next look may succeed
}
