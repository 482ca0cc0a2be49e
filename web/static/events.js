// A job from its submission to its end: by the event stream where it can be had, else by polling.

const FIRST_MS = 250;
const GROWTH = 1.5;
const MOST_MS = 3000;
const PATIENCE_MS = 10000;

export const hasEnded = (job) => job.finished_at !== null;

// The job once it has ended, or null where it is not kept any more or not ours to see (any more). `onJob` gets every
// state on the way; `onTrouble` gets the problem and the milliseconds until the next attempt while the server does not
// answer.
export function follow(links, { onJob = () => {}, onTrouble = () => {} } = {}) {
  if (!links.events || !window.EventSource) return poll(links.self, onJob, onTrouble);
  return new Promise((resolve) => {
    const stream = new EventSource(links.events);
    stream.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      onJob(job);
      if (!hasEnded(job)) return;
      stream.close();
      resolve(job);
    });
    stream.addEventListener("error", () => {
      stream.close();
      resolve(poll(links.self, onJob, onTrouble));
    });
  });
}

async function poll(address, onJob, onTrouble) {
  for (let wait = FIRST_MS; ; wait = Math.min(wait * GROWTH, MOST_MS)) {
    try {
      const job = await look(address);
      if (!job) return null;
      onJob(job);
      if (hasEnded(job)) return job;
    } catch (problem) {
      onTrouble(problem, Math.min(wait * GROWTH, MOST_MS));
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function look(address) {
  const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if ([401, 404, 410].includes(response.status)) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}
