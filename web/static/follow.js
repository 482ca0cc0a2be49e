// Follows a job until it has ended, then loads the page again: the server draws every result.

const FIRST_MS = 250;
const GROWTH = 1.5;
const MOST_MS = 3000;
const PATIENCE_MS = 10000;

const panel = document.querySelector("#follow");
const trouble = document.querySelector("#trouble");
const text = (id, words) => {
  const element = document.getElementById(id);
  if (element.textContent !== words) element.textContent = words;
};

function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

function show(job) {
  for (const part of panel.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== job.status;
  if (job.queue) {
    text("position", String(job.queue.position));
    text("eta", duration(job.queue.eta_seconds));
  }
  const { stage, done, total } = job.progress ?? {};
  text("progress", job.progress ? `: ${stage}, ${done} of ${total}` : "");
}

async function look() {
  const response = await fetch(panel.dataset.job, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (response.status === 404 || response.status === 410) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

function complain(problem, wait) {
  const reason = problem.message.startsWith("status") ? ` (${problem.message})` : "";
  trouble.textContent = `The server does not answer just now${reason}. The job is not lost; trying again in ${duration(wait / 1000).replace("about ", "")}.`;
  trouble.hidden = false;
}

async function follow(wait) {
  const next = Math.min(wait * GROWTH, MOST_MS);
  try {
    const job = await look();
    if (!job || !["queued", "running"].includes(job.status)) return location.reload();
    trouble.hidden = true;
    show(job);
  } catch (problem) {
    complain(problem, next);
  }
  setTimeout(follow, next, next);
}

setTimeout(follow, FIRST_MS, FIRST_MS);
