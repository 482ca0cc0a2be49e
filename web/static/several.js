// The page of several jobs: looks again until all have ended. The server draws every state.

const FIRST_MS = 500;
const GROWTH = 1.3;
const MOST_MS = 5000;

async function look() {
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of ["state", "jobs"]) {
    const [old, next] = [document.getElementById(id), page.getElementById(id)];
    if (old.innerHTML !== next.innerHTML) old.replaceWith(document.importNode(next, true));
    else if (!("waiting" in next.dataset)) delete old.dataset.waiting;
  }
}

let wait = FIRST_MS;
while ("waiting" in document.getElementById("jobs").dataset) {
  await new Promise((resolve) => setTimeout(resolve, wait));
  wait = Math.min(wait * GROWTH, MOST_MS);
  await look().catch(() => {}); // the next look may succeed
}
